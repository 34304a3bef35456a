"""What is measured on the held-out images during training, under its names in ``metrics.csv``."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from xception.data.batches import Batch
from xception.metrics import WeightedMeanAveragePrecision
from xception.metrics.map_result import Reading
from xception.metrics.ranking import Unannotated
from xception.training.losses import Loss

IGNORED = -1  # the label of padding and of unreadable images


class TopAccuracy(nn.Module):
    """Cross-entropy, top-1 and top-5 accuracy of images with one label each.

    Args:
        num_classes: C; with fewer than five classes, top-C is in the place of top-5.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.top1 = MulticlassAccuracy(num_classes, top_k=1, average="micro")
        self.top5 = MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro")

    def reset(self) -> None:
        """Begins a new count."""
        for metric in (self.loss, self.top1, self.top5):
            metric.reset()

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Counts a batch; padding and unreadable images are left out.

        Args:
            logits: (N, C).
            batch: Its images' labels.
        """
        counted = batch.labels != IGNORED
        logits, labels = logits[counted].float(), batch.labels[counted]
        if len(labels):
            self.loss.update(nn.functional.cross_entropy(logits, labels), weight=len(labels))
            self.top1.update(logits, labels)
            self.top5.update(logits, labels)

    def figures(self) -> dict[str, Tensor]:
        """The figures over all devices."""
        return {
            "validation_loss": self.loss.compute(),
            "validation_top1": self.top1.compute(),
            "validation_top5": self.top5.compute(),
        }


class MeanAveragePrecision(nn.Module):
    """The loss and the weighted MAP@k of images with several labels each (section 4.1).

    Args:
        loss: What training minimises; its mean over the held-out images is given.
        num_classes: C.
        k: Predictions scored per image, at most C.
        class_weights: (C,) ≥ 0; None: equal weights.
        reading: Averaged per "image" or per "class".
        unannotated: Predictions of classes that were not annotated: "masked" or "negative".

    Raises:
        InputError: k is above C, or the weights are not such.
    """

    def __init__(
        self,
        loss: Loss,
        num_classes: int,
        *,
        k: int,
        class_weights: Tensor | Sequence[float] | None = None,
        reading: Reading = "image",
        unannotated: Unannotated = "masked",
    ) -> None:
        super().__init__()
        self._loss_function = loss
        self.loss = MeanMetric()
        self.map: Any = WeightedMeanAveragePrecision(
            k,
            num_classes=num_classes,
            class_weights=class_weights,
            reading=reading,
            unannotated=unannotated,
        )

    def reset(self) -> None:
        """Begins a new count."""
        self.loss.reset()
        self.map.reset()

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Counts a batch; padding and unreadable images are left out.

        Args:
            logits: (N, C).
            batch: Its images' labels and indices; an index that came before is dropped.
        """
        assert batch.targets is not None
        counted = batch.labels != IGNORED
        if not counted.any():
            return
        logits, targets = logits[counted].float(), batch.targets.select(counted)
        self.loss.update(self._loss_function(logits, targets), weight=int(counted.sum()))
        self.map.update(
            logits, targets.positives, keys=batch.indices[counted], annotated=targets.annotated
        )

    def figures(self) -> dict[str, Tensor]:
        """The figures over all devices."""
        return {
            "validation_loss": torch.as_tensor(self.loss.compute()),
            "validation_map": self.map.compute(),
        }
