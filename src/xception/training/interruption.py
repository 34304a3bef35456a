"""Ctrl-C and SIGTERM: finish the batch, save, say how to go on."""

import signal
import types
from typing import Any

import lightning.pytorch as pl

from xception.training.checkpoints import ExactCheckpoints


class RunInterrupted(BaseException):
    """A signal ended the run after its state had been saved.

    Like ``KeyboardInterrupt`` it is no ``Exception``: nothing on the way swallows it.

    Attributes:
        exit_code: 128 + the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
        step: The optimizer step that the run can go on from.
    """

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number
        self.step = step


class Interruption(pl.Callback):
    """Turns the first signal into a save after the batch; the second ends the run at once.

    Args:
        checkpoints: Saves, where an exact resume from here is possible; elsewhere (in the middle of
            an accumulation, at the last batch of an epoch) the run goes on for a batch, or from the
            checkpoint before.
    """

    def __init__(self, checkpoints: ExactCheckpoints) -> None:
        self.checkpoints = checkpoints
        self._received: int | None = None
        self._handlers: dict[int, Any] = {}

    def _receive(self, number: int, frame: types.FrameType | None) -> None:
        if self._received is not None:
            raise RunInterrupted(number, self.checkpoints.saved_step)
        self._received = number

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the two signals, after Lightning has set its own handlers."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._receive)

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
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._handlers.clear()

    def _wanted(self, trainer: pl.Trainer) -> bool:
        here = self._received is not None
        if trainer.world_size == 1:
            return here
        return bool(trainer.strategy.reduce_boolean_decision(here, all=False))

    def _stop(self) -> None:
        number = self._received or signal.SIGTERM
        raise RunInterrupted(number, self.checkpoints.saved_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Saves and stops, if a signal has come."""
        if self._wanted(trainer) and self.checkpoints.save_inside_epoch(trainer):
            self._stop()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Stops; the run goes on from the checkpoint before the validation."""
        if self._received is not None and trainer.world_size == 1:
            self._stop()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops after the checkpoint of the epoch's end (this callback comes after it)."""
        if self._wanted(trainer):
            self._stop()
