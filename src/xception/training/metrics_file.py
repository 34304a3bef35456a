"""``metrics.csv``: one row every so many steps, one after every validation.

A checkpoint knows how many rows were written before it. A resumed run cuts the file back to that
number, so that a killed run's file equals an undisturbed one's, but for the two columns of time.
"""

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from xception.data.loading import Batch
from xception.weights.atomic import append_line, replacing

COLUMNS = (
    "epoch",
    "step",
    "samples",
    "learning_rate",
    "train_loss",
    "validation_loss",
    "validation_top1",
    "validation_top5",
    "validation_map",
    "images_per_second",
    "elapsed_seconds",
)


def rows_every(total_steps: int) -> int:
    """Steps between two rows of training figures where the recipe leaves them open.

    About a hundred rows in a run, and at most 50 steps between two.

    Example:
        >>> rows_every(60), rows_every(1000), rows_every(10**6)
        (1, 10, 50)
    """
    return max(1, min(50, total_steps // 100))


def cut_rows(path: Path, rows: int) -> None:
    """Leaves the heading and the first ``rows`` rows of a CSV file, whole lines only."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines[: rows + 1] if line.endswith(b"\n")]
    with replacing(path) as partial:
        partial.write_bytes(b"".join(kept) or ",".join(COLUMNS).encode() + b"\n")


def read_rows(path: Path) -> list[dict[str, float | None]]:
    """The rows of a ``metrics.csv``; an empty cell is ``None``."""
    with path.open(newline="") as file:
        return [
            {name: float(cell) if cell else None for name, cell in row.items()}
            for row in csv.DictReader(file)
        ]


class MetricsFile(pl.Callback):
    """Writes ``metrics.csv`` and logs the same figures to the other loggers.

    Args:
        path: The file.
        every_steps: Optimizer steps between two rows of training figures.
    """

    def __init__(self, path: Path, every_steps: int) -> None:
        self.path = path
        self.every_steps = max(1, every_steps)
        self.rows = 0
        self.elapsed_seconds = 0.0  # of earlier parts of the run
        self._loss_sum = 0.0
        self._loss_count = 0
        self._started = self._window_started = time.monotonic()
        self._window_samples = 0
        self._seen_step = 0
        self.images_per_second = 0.0

    def elapsed(self) -> float:
        """Seconds of training so far, interruptions not counted."""
        return self.elapsed_seconds + time.monotonic() - self._started

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Cuts the file back to where the run stands."""
        self._started = self._window_started = time.monotonic()
        if trainer.is_global_zero:
            cut_rows(self.path, self.rows)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Notes the step that the run goes on from."""
        self._seen_step = checkpoint["global_step"]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Counts the batch; writes a row when it is time."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            # Lightning hands out the loss divided by the accumulation.
            self._loss_sum += float(loss.detach()) * trainer.accumulate_grad_batches
            self._loss_count += 1
        self._window_samples += len(batch.labels) * trainer.world_size
        if trainer.global_step == self._seen_step:
            return
        self._seen_step = trainer.global_step
        if trainer.global_step % self.every_steps == 0:
            self._write_training_row(trainer, pl_module)

    def _write_training_row(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        sums = torch.tensor([self._loss_sum, self._loss_count], dtype=torch.float64)
        if trainer.world_size > 1:
            sums = trainer.strategy.reduce(sums.to(pl_module.device), reduce_op="sum").cpu()
        now = time.monotonic()
        self.images_per_second = self._window_samples / max(now - self._window_started, 1e-9)
        row = {
            "train_loss": float(sums[0] / sums[1]) if sums[1] else None,
            "images_per_second": round(self.images_per_second, 2),
        }
        self._loss_sum, self._loss_count = 0.0, 0
        self._window_started, self._window_samples = now, 0
        self._append(trainer, pl_module, row)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the validation row."""
        if trainer.sanity_checking:
            return
        figures = {
            name: float(trainer.callback_metrics[name])
            for name in COLUMNS
            if name.startswith("validation_") and name in trainer.callback_metrics
        }
        self._append(trainer, pl_module, figures)
        self._window_started, self._window_samples = time.monotonic(), 0

    def _append(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        figures: Mapping[str, float | None],
    ) -> None:
        step = trainer.global_step
        rate = getattr(pl_module, "current_learning_rate")(max(step - 1, 0))  # noqa: B009
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "step": step,
            "samples": step * int(getattr(pl_module, "batch_size")),  # noqa: B009
            "learning_rate": rate,
            "elapsed_seconds": round(self.elapsed(), 3),
            **figures,
        }
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in row.items() if v is not None}, step=step)
        self.rows += 1
        if trainer.is_global_zero:
            cells = ("" if row.get(name) is None else repr(row[name]) for name in COLUMNS)
            append_line(self.path, ",".join(cells))

    def state_dict(self) -> dict[str, Any]:
        """How many rows belong to the run so far, and the open window's sums."""
        return {
            "rows": self.rows,
            "loss_sum": self._loss_sum,
            "loss_count": self._loss_count,
            "elapsed_seconds": self.elapsed(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them back."""
        self.rows = state_dict["rows"]
        self._loss_sum = state_dict["loss_sum"]
        self._loss_count = state_dict["loss_count"]
        self.elapsed_seconds = state_dict["elapsed_seconds"]
