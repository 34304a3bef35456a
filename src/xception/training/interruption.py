"""Ctrl-C, SIGTERM, SIGUSR1, a closed terminal and the end of the time: finish the batch, save, say
how to go on.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import lightning.pytorch as pl
import torch

from xception.signals import Terminated, received_by
from xception.training.checkpoints import ExactCheckpoints

TIME_IS_UP = 100  # above every signal's number


class RunInterrupted(BaseException):
    """A signal, or the end of ``trainer.max_time``, ended the run after its state had been saved.

    Like ``KeyboardInterrupt`` it is no ``Exception``: nothing on the way swallows it.

    Args:
        cause: The signal's number, or ``TIME_IS_UP``.
        step: See below.

    Attributes:
        exit_code: 128 + the signal's number: 130 for Ctrl-C, 143 for SIGTERM and for the end of the
            time, 138 for SIGUSR1, 129 for a closed terminal.
        step: The optimizer step that the run can go on from; 0: the first one.
    """

    def __init__(self, cause: int, step: int) -> None:
        ended = cause == TIME_IS_UP
        told = "trainer.max_time" if ended else signal.Signals(cause).name
        super().__init__(f"interrupted by {told}" + (f" and saved at step {step}" if step else ""))
        self.exit_code = 128 + (signal.SIGTERM if ended else cause)
        self.step = step


@contextmanager
def interruptible(step: Callable[[], int]) -> Iterator[None]:
    """Makes a signal that comes before the first batch or after the last one end the run likewise.

    Args:
        step: The optimizer step that the run can go on from.

    Raises:
        RunInterrupted: Ctrl-C or another signal came.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise RunInterrupted(signal.SIGINT, step()) from None
    except Terminated as stop:
        raise RunInterrupted(stop.number, step()) from None


class Interruption(pl.Callback):
    """Turns the first signal into a save after the batch; the second ends the run at once.

    Args:
        checkpoints: Saves, where an exact resume from here is possible; elsewhere (in the middle of
            an accumulation, at the last batch of an epoch) the run goes on for a batch, or from the
            checkpoint before.
        max_seconds: Training time of this start, after which the run is interrupted too; ``None``:
            no limit.
    """

    def __init__(self, checkpoints: ExactCheckpoints, max_seconds: float | None = None) -> None:
        self.checkpoints = checkpoints
        self.max_seconds = max_seconds
        self._started = time.monotonic()
        self._received: int | None = None
        self._signals = ExitStack()

    def _receive(self, number: int, frame: Any) -> None:
        if self._received is not None:
            raise RunInterrupted(number, self.checkpoints.saved_step)
        self._received = number

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals, after Lightning has set its own handlers; starts the clock."""
        self._started = time.monotonic()
        self._signals.enter_context(received_by(self._receive))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Gives them back."""
        self.restore()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Gives them back."""
        self.restore()

    def restore(self) -> None:
        """Puts the former handlers in place."""
        self._signals.close()

    def _cause(self) -> int:
        if self._received is None and self.max_seconds is not None:
            return TIME_IS_UP if time.monotonic() - self._started >= self.max_seconds else 0
        return self._received or 0

    def _wanted(self, trainer: pl.Trainer) -> int:
        """Why the run is to stop, the same on all processes; 0: it goes on."""
        here = self._cause()
        if trainer.world_size == 1:
            return here
        # On all or on none: else the others would wait for this one's next batch for ever.
        causes = torch.tensor(here, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(causes, reduce_op="max"))

    def _stop(self, cause: int) -> None:
        raise RunInterrupted(cause, self.checkpoints.saved_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Saves and stops, if a signal has come."""
        cause = self._wanted(trainer)
        if cause and self.checkpoints.save_inside_epoch(trainer):
            self._stop(cause)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Stops; the run goes on from the checkpoint before the validation."""
        if self._received is not None and trainer.world_size == 1:
            self._stop(self._received)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops after the checkpoint of the epoch's end (this callback comes after it)."""
        cause = self._wanted(trainer)
        if cause:
            self._stop(cause)
