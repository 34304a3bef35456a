"""What an evaluation found: one row for each image, every figure counted from the rows.

The paper reports top-1 and top-5 accuracy of a single model on a single crop (section 4.3). Here
they are exact counts over the images, never means over batches.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from xception.errors import InputError

_ROWS = ("indices", "labels", "predictions", "probabilities", "ranks", "losses")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The outcome for each of n images that could be read, and the list of those that could not.

    Attributes:
        class_names: C names, in the order of the model's outputs.
        indices: (n,) int64, each image's position in its source.
        labels: (n,) int64 in [0, C), the true class.
        predictions: (n,) int64 in [0, C), the class with the largest logit (the first of equals).
        probabilities: (n,) float32 in [0, 1], the probability given to the predicted class.
        ranks: (n,) int64 in [0, C), how many classes the model put before the true one.
        losses: (n,) float64, cross-entropy in nats; ``exp(-loss)`` is the probability that the
            model gave to the true class.
        skipped: Index and reason of each image that could not be read. They are in no figure.
        blacklisted: (n,) bool, the images that the makers of the data set withdrew
            (ImageNet's blacklist). Not set: none.

    Example:
        >>> found = Evaluation(
        ...     class_names=["cat", "dog"],
        ...     indices=np.arange(3),
        ...     labels=np.array([0, 1, 1]),
        ...     predictions=np.array([0, 1, 0]),
        ...     probabilities=np.array([0.9, 0.8, 0.6], np.float32),
        ...     ranks=np.array([0, 0, 1]),
        ...     losses=np.array([0.105, 0.223, 0.916]),
        ... )
        >>> round(found.top1, 3), found.confusion.tolist()
        (0.667, [[1, 0], [1, 1]])
    """

    class_names: list[str]
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    ranks: NDArray[np.int64]
    losses: NDArray[np.float64]
    skipped: list[tuple[int, str]] = field(default_factory=list)
    blacklisted: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        assert len({len(getattr(self, name)) for name in _ROWS}) == 1, "one row for each image"

    @property
    def num_images(self) -> int:
        """How many images the figures rest on."""
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    def accuracy(self, k: int) -> float:
        """The share of images whose true class is among the k most probable; NaN without images."""
        return float(np.mean(self.ranks < k)) if self.num_images else float("nan")

    @property
    def top1(self) -> float:
        """The share of images whose most probable class is the true one."""
        return self.accuracy(1)

    @property
    def k(self) -> int:
        """The k of :attr:`top5`: 5, or the number of classes where there are fewer."""
        return min(5, self.num_classes)

    @property
    def top5(self) -> float:
        """The share of images whose true class is among the ``k = min(5, C)`` most probable."""
        return self.accuracy(self.k)

    @property
    def loss(self) -> float:
        """The mean cross-entropy over the images, in nats."""
        return float(np.mean(self.losses)) if self.num_images else float("nan")

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(C, C) counts; row: the true class, column: the predicted one."""
        cells = self.labels * self.num_classes + self.predictions
        counts = np.bincount(cells, minlength=self.num_classes**2)
        return counts.reshape(self.num_classes, self.num_classes).astype(np.int64)

    @property
    def images_per_class(self) -> NDArray[np.int64]:
        """(C,) how many images of each class there are."""
        return np.bincount(self.labels, minlength=self.num_classes).astype(np.int64)

    @property
    def accuracy_per_class(self) -> NDArray[np.float64]:
        """(C,) top-1 accuracy on the images of each class; NaN for a class without images."""
        right = np.bincount(self.labels, weights=self.ranks == 0, minlength=self.num_classes)
        images = self.images_per_class
        return np.divide(right, images, out=np.full(len(images), np.nan), where=images > 0)

    def rows(self, chosen: NDArray[Any]) -> "Evaluation":
        """The same evaluation on some of its images.

        Args:
            chosen: (n,) bool, or the row numbers to keep.
        """
        kept: dict[str, Any] = {name: getattr(self, name)[chosen] for name in _ROWS}
        if self.blacklisted is not None:
            kept["blacklisted"] = self.blacklisted[chosen]
        return replace(self, **kept)

    def without_blacklisted(self) -> "Evaluation":
        """The evaluation on the images that were not withdrawn, as the paper's (section 4.1)."""
        return self if self.blacklisted is None else self.rows(~self.blacklisted)

    def figures(self) -> dict[str, float | int | None]:
        """The headline figures as JSON primitives: images, skipped, top1, top5 (or topC), loss."""
        named = {"top1": self.top1, f"top{self.k}": self.top5, "loss": self.loss}
        return {"images": self.num_images, "skipped": len(self.skipped)} | {
            name: None if np.isnan(value) else value for name, value in named.items()
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays of numbers and text, for ``np.savez``; see :meth:`from_arrays`."""
        stored: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _ROWS}
        stored["class_names"] = _text(self.class_names)
        stored["skipped_indices"] = np.array([index for index, _ in self.skipped], np.int64)
        stored["skipped_reasons"] = _text(reason for _, reason in self.skipped)
        if self.blacklisted is not None:
            stored["blacklisted"] = self.blacklisted
        return stored

    @classmethod
    def from_arrays(cls, stored: dict[str, NDArray[Any]]) -> "Evaluation":
        """The inverse of :meth:`arrays`; entries of other names are ignored."""
        own = {f.name for f in fields(cls)} - {"class_names", "skipped"}
        return cls(
            class_names=stored["class_names"].tolist(),
            skipped=list(
                zip(
                    stored["skipped_indices"].tolist(),
                    stored["skipped_reasons"].tolist(),
                    strict=True,
                )
            ),
            **{name: value for name, value in stored.items() if name in own},
        )


def _text(words: Iterable[str]) -> NDArray[np.str_]:
    """Words as a fixed-width array: no pickle is needed to store it."""
    return np.array(list(words), dtype=np.str_)


def read_evaluation(stored: Path | IO[bytes]) -> tuple[Evaluation, dict[str, NDArray[Any]]]:
    """Reads an ``evaluation.npz``: the evaluation, and all of the file's arrays.

    Raises:
        InputError: The file is not one.
    """
    try:
        with np.load(stored, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return Evaluation.from_arrays(arrays), arrays
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile):
        raise InputError(f"{stored} is not a stored evaluation; evaluate again") from None
