"""A worker of asynchronous training: the gradient of one batch, by synchronous training's code.

The model, the loss, the random numbers of a batch, the order and the augmentation are those of
`xception.training.classifier` and `xception.data.batches`: a batch is the same batch whoever
computes it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning.pytorch.utilities import move_data_to_device

from xception.data.batches import Batch, TrainingBatches
from xception.data.module import ImageData
from xception.distributed.finite import is_finite
from xception.distributed.layout import Layout
from xception.distributed.ledger import Lease
from xception.distributed.shard import PRECISIONS, Pulled, Push
from xception.training.classifier import Classifier


@dataclass(frozen=True)
class Report:
    """What the coordinator has to know of a gradient.

    Attributes:
        version: The least of the servers' versions that it was computed with.
        finite: Whether the loss and every element are.
        loss: Of the batch.
        skipped: Unreadable images met on the way: index, and "name: reason".
        unreadable: Whether a place of the batch stayed empty.
    """

    version: int
    finite: bool
    loss: float
    skipped: tuple[tuple[int, str], ...] = ()
    unreadable: bool = False


class GradientWorker:
    """Computes gradients; keeps nothing between two batches.

    Args:
        classifier: Its model's weights are overwritten by each pull.
        batches: The training batches by their place in the order.
        layout: Of the model.
        precision: In which gradients travel.
    """

    def __init__(
        self,
        classifier: Classifier,
        batches: TrainingBatches,
        layout: Layout,
        precision: str = "float32",
    ) -> None:
        self.classifier, self.batches, self.layout = classifier, batches, layout
        self.precision = PRECISIONS[precision]

    def load(self, lease: Lease) -> Batch:
        """Reads and augments the images of a batch."""
        return self.batches[lease.epoch, lease.positions]

    def compute(
        self, lease: Lease, pulled: Sequence[Pulled], batch: Batch | None = None
    ) -> tuple[Report, list[Push]]:
        """The gradient of a batch.

        Args:
            lease: The batch.
            pulled: Every server's slice, in their order.
            batch: As `load` has given it; None: it is loaded here.

        Returns:
            What the coordinator has to know, and a push for each server.
        """
        before = self.layout.join([slice_.values for slice_ in pulled])
        self.layout.write(before)
        version = min(slice_.version for slice_ in pulled)
        batch = self.load(lease) if batch is None else batch
        skipped = tuple(batch.skipped)
        if bool((batch.labels < 0).any()):  # the run ends: a loss without an image means nothing
            return Report(version, False, math.nan, skipped, unreadable=True), []
        self.classifier.train()
        self.classifier.zero_grad(set_to_none=True)
        self.classifier.seed_batch(lease.number)
        loss = self.classifier.batch_loss(move_data_to_device(batch, self.classifier.device))
        loss.backward()
        gradient = self.layout.gradient().to(self.precision)
        after = self.layout.read()
        finite = all(map(is_finite, (loss, gradient, after.statistics)))
        counted = after.counters - before.counters
        parts = zip(
            *map(self.layout.cut, (gradient, before.statistics, after.statistics, counted)),
            strict=True,
        )
        pushes = [
            Push(lease.number, slice_.version, slice_.generation, *part)
            for slice_, part in zip(pulled, parts, strict=True)
        ]
        return Report(version, finite, loss.item(), skipped), pushes


def training_batches(data: ImageData) -> TrainingBatches:
    """The training batches of a run, by their place in the order."""
    return TrainingBatches(
        data.train_source,
        data.transform,
        seed=data.seed,
        attempts=max(1, data.max_unreadable + 1),
        decoding=data.decoding,
    )
