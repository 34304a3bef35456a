"""What an asynchronous run writes down: the rows of ``metrics.csv``, as a synchronous one does.

A row belongs to an exact number of completed updates.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from xception.errors import InputError
from xception.training.metrics_file import COLUMNS, cut_rows
from xception.weights.atomic import append_line, replacing


class Record:
    """The rows of a run.

    Args:
        path: ``metrics.csv``.
        every_steps: Updates between two rows of training figures.
        learning_rate: Of the n-th update, from 0.
        batch_size: Images in an update.
        steps_per_epoch: Updates in an epoch.
        loggers: Others that get the same figures.

    Attributes:
        images_per_second: Up to the last row; 0 until there is one.
        watch: Is told of each completed update: how many there are, and its loss.
    """

    def __init__(
        self,
        path: Path,
        every_steps: int,
        *,
        learning_rate: Callable[[int], float],
        batch_size: int,
        steps_per_epoch: int,
        loggers: Sequence[Logger] = (),
    ) -> None:
        self.loggers = loggers
        self.path = path
        self.every_steps = max(1, every_steps)
        self.learning_rate = learning_rate
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.rows = 0
        self.images_per_second = 0.0
        self.watch: Callable[[int, float], None] = lambda step, loss: None
        self._loss_sum, self._loss_count = 0.0, 0
        self._elapsed_before = 0.0
        self._started = self._window_started = time.monotonic()
        self._window_step = 0

    def elapsed(self) -> float:
        """Seconds of training so far, interruptions not counted."""
        return self._elapsed_before + time.monotonic() - self._started

    def begin(self) -> None:
        """Cuts the file back to where the run stands, and starts the clock."""
        self._started = self._window_started = time.monotonic()
        cut_rows(self.path, self.rows)

    def add_loss(self, loss: float, step: int) -> None:
        """Counts a completed update; writes a row when it is time.

        Args:
            loss: Of its batch.
            step: Completed updates, this one included.
        """
        self._loss_sum += loss
        self._loss_count += 1
        if step % self.every_steps == 0:
            self._close_window(step)
        self.watch(step, loss)

    def _close_window(self, step: int) -> None:
        """Writes a row of the updates since the last one."""
        now = time.monotonic()
        images = (step - self._window_step) * self.batch_size
        self.images_per_second = images / max(now - self._window_started, 1e-9)
        self.add_row(
            step,
            {
                "train_loss": self._loss_sum / self._loss_count,
                "images_per_second": round(self.images_per_second, 2),
            },
        )
        self._loss_sum, self._loss_count = 0.0, 0
        self._window_started, self._window_step = now, step

    def add_row(self, step: int, figures: Mapping[str, float]) -> None:
        """Appends a row, and flushes it to the device."""
        row: dict[str, Any] = {
            "epoch": max(step - 1, 0) // self.steps_per_epoch,
            "step": step,
            "samples": step * self.batch_size,
            "learning_rate": self.learning_rate(max(step - 1, 0)),
            "elapsed_seconds": round(self.elapsed(), 3),
            **figures,
        }
        for logger in self.loggers:
            logger.log_metrics({k: v for k, v in row.items() if v is not None}, step=step)
        cells = ("" if row.get(name) is None else repr(row[name]) for name in COLUMNS)
        self.rows += 1
        append_line(self.path, ",".join(cells))

    def write_staleness(self, updates: Mapping[int, int]) -> None:
        """Writes ``staleness.csv`` beside the rows, whole or not at all.

        Args:
            updates: How many updates there were of each staleness, since the run began.
        """
        with replacing(self.path.with_name("staleness.csv")) as partial:
            rows = "".join(f"{staleness},{n}\n" for staleness, n in sorted(updates.items()))
            partial.write_text(f"staleness,updates\n{rows}")

    def snapshot(self) -> dict[str, Any]:
        """Rows so far, and the open window's sums."""
        return {
            "rows": self.rows,
            "loss_sum": self._loss_sum,
            "loss_count": self._loss_count,
            "elapsed_seconds": self.elapsed(),
        }

    def restore(self, state: dict[str, Any], step: int) -> None:
        """Takes a snapshot back, of a run with ``step`` updates; the file is cut back to it."""
        self.rows = state["rows"]
        self._loss_sum, self._loss_count = state["loss_sum"], state["loss_count"]
        self._elapsed_before = state["elapsed_seconds"]
        self._window_step = step
        self.begin()

    def go_on_from(self, seconds: float) -> None:
        """Sets the clock: the time that was lost with a server was spent all the same."""
        self._elapsed_before = seconds
        self._started = time.monotonic()


class Unreadable:
    """The training images that could not be read, up to a limit.

    Args:
        limit: ``data.max_unreadable``.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.found: dict[int, str] = {}

    def add(self, skipped: tuple[tuple[int, str], ...], *, is_empty: bool) -> None:
        """Counts what a worker met.

        Raises:
            InputError: There are too many.
        """
        for index, reason in skipped:
            self.found.setdefault(index, reason)
        if self.found and (is_empty or len(self.found) > self.limit):
            first = next(iter(self.found.values()))
            raise InputError(
                f"{len(self.found)} training images can't be read, the first is {first}; the limit "
                f"is data.max_unreadable = {self.limit}: repair or remove them, or raise it"
            )
