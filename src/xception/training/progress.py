"""The progress bar of a training run: loss, learning rate, images/s, time left of the whole run."""

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar

from xception.training.metrics_file import MetricsFile


def terminal_bar(console: Any = None) -> Any:
    """A bar of rich's: a description, how far it is, and the time left.

    Args:
        console: Rich's, where it is drawn; None: standard error.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
        refresh_per_second=4,
    )


class RunProgress(ProgressBar):
    """One bar over all steps of the run on a terminal; one line an epoch elsewhere.

    Args:
        total_steps: Optimizer steps of the whole run.
        metrics: Where the elapsed time is kept.
    """

    def __init__(self, total_steps: int, metrics: MetricsFile) -> None:
        super().__init__()
        self.total_steps = total_steps
        self.metrics_file = metrics
        self._bar: Any = None
        self._task: Any = None
        self._loss = float("nan")
        self._drawn = 0.0

    def disable(self) -> None:
        """Draws nothing; called on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Draws again."""
        self._enabled = True

    _enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens the bar."""
        super().on_train_start(trainer, pl_module)
        if not (self._enabled and sys.stderr.isatty()):
            return
        self._bar = terminal_bar()
        self._task = self._bar.add_task("training", total=self.total_steps)
        self._bar.update(self._task, completed=trainer.global_step)
        self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Moves the bar, ten times a second at most."""
        if self._bar is None or time.monotonic() - self._drawn < 0.1:
            return
        self._drawn = time.monotonic()
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None:
            self._loss = float(loss) * trainer.accumulate_grad_batches
        rate = getattr(pl_module, "current_learning_rate")(max(trainer.global_step - 1, 0))  # noqa: B009
        speed = self.metrics_file.images_per_second  # 0 until the first row of metrics.csv
        self._bar.update(
            self._task,
            completed=trainer.global_step,
            description=(
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs or '?'}  "
                f"loss {self._loss:.3f}  lr {rate:.2g}"
                + (f"  {speed:.0f} images/s" if speed else "")
            ),
        )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says how the epoch went."""
        if trainer.sanity_checking or not self._enabled:
            return
        metrics = trainer.callback_metrics
        names = {"validation_top1": "top-1", "validation_map": "MAP@k"}
        known = [name for name in names if name in metrics]
        if not known:
            return
        elapsed = self.metrics_file.elapsed()
        line = (
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs or '?'}  step "
            f"{trainer.global_step}/{self.total_steps}  validation loss "
            f"{float(metrics['validation_loss']):.4f}  "
            f"{names[known[0]]} {float(metrics[known[0]]):.4f}  {elapsed:.0f} s"
        )
        if self._bar is not None:
            self._bar.console.print(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the terminal as it was found."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_train_end(self, *_: Any) -> None:
        """Closes the bar."""
        self.close()

    def on_exception(self, *_: Any) -> None:
        """Closes the bar."""
        self.close()
