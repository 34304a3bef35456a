"""The evaluation of the averaged weights on the held-out images, beside asynchronous training."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future

import torch
from lightning.pytorch.utilities import move_data_to_device

from xception.distributed.layout import Layout, Values
from xception.distributed.record import Record
from xception.training.fit import Run


class AveragedEvaluation:
    """At most one evaluation that is due, or on its way; its figures become a row.

    Args:
        run: Its classifier's model is overwritten with the averaged weights.
        layout: Of that model.
        record: Gets the row.

    Attributes:
        due_at: The update whose averaged weights are to be evaluated; None: nothing is due.
    """

    def __init__(self, run: Run, layout: Layout, record: Record) -> None:
        self._run, self._layout, self._record = run, layout, record
        self.due_at: int | None = None
        self._future: Future[dict[str, float]] | None = None
        self._is_stopped = threading.Event()

    def begin(self, averages: Callable[[], list[Values]], executor: Executor) -> None:
        """Starts what is due, unless it is on its way.

        Args:
            averages: Every server's averaged slice, as after update ``due_at``.
            executor: Where it runs.
        """
        if self.due_at is not None and self._future is None:
            self._future = executor.submit(self._evaluate, self._layout.join(averages()))

    def collect(self) -> None:
        """Writes the row if the figures are there."""
        if self._future is not None and self._future.done():
            self.finish()

    def finish(self) -> None:
        """Waits for the figures and writes the row."""
        if self._future is None or self.due_at is None:
            return
        figures, step = self._future.result(), self.due_at
        self._future = self.due_at = None
        self._record.add_row(step, figures)
        told = ", ".join(f"{name} {figure:.4f}" for name, figure in figures.items())
        print(f"step {step}: {told}", flush=True)

    def discard(self) -> None:
        """Stops the evaluation after the batch that it is at, and forgets it."""
        if self._future is not None:
            self._is_stopped.set()
            self._future.result()
            self._is_stopped.clear()
        self._future = self.due_at = None

    @torch.no_grad()
    def _evaluate(self, average: Values) -> dict[str, float]:
        classifier = self._run.classifier
        self._layout.write(average)
        classifier.eval()
        classifier.validation.reset()
        for batch in self._run.data.val_dataloader():
            if self._is_stopped.is_set():
                return {}
            moved = move_data_to_device(batch, classifier.device)
            classifier.validation.update(classifier(moved.images), moved)
        return {name: float(value) for name, value in classifier.validation.figures().items()}
