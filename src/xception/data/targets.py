"""Several labels to an image (JFT, section 4.1), sparse from disk to loss: never a dense row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor


class ImageTargets(NamedTuple):
    """The labels of one image.

    Attributes:
        class_ids: (L,) int, ascending: the classes that it has.
        weights: (L,) float32 ≥ 0, what each label's term in the loss is multiplied with; None: 1.
        absent_ids: (A,) int, ascending: the classes that it is known not to have. All classes in
            neither list are unknown, and masked in loss and metric. None: it has no other class.
    """

    class_ids: np.ndarray
    weights: np.ndarray | None = None
    absent_ids: np.ndarray | None = None


class BatchTargets(NamedTuple):
    """The labels of N images: those of image i are ``class_ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        offsets: (N + 1,) int64.
        class_ids: (L,) int64.
        weights: (L,) float32 ≥ 0 of the labels in the loss; None: 1.
        absent_offsets: (N + 1,) int64, for ``absent_ids``.
        absent_ids: (A,) int64, the classes that the images are known not to have; None: all others.
    """

    offsets: Tensor
    class_ids: Tensor
    weights: Tensor | None = None
    absent_offsets: Tensor | None = None
    absent_ids: Tensor | None = None

    @property
    def rows(self) -> Tensor:
        """The image that each label belongs to, (L,) int64."""
        return rows_of(self.offsets, len(self.class_ids))

    @property
    def positives(self) -> tuple[Tensor, Tensor]:
        """Offsets and class ids, as `xception.metrics` takes them."""
        return self.offsets, self.class_ids

    @property
    def annotated(self) -> tuple[Tensor, Tensor] | None:
        """Offsets and ids of the classes whose presence or absence is known; None: all are."""
        if self.absent_offsets is None or self.absent_ids is None:
            return None
        rows = torch.cat([self.rows, rows_of(self.absent_offsets, len(self.absent_ids))])
        ids = torch.cat([self.class_ids, self.absent_ids])
        order = rows.sort(stable=True).indices
        return self.offsets + self.absent_offsets, ids[order]

    def select(self, chosen: Tensor) -> "BatchTargets":
        """The labels of some of the images.

        Args:
            chosen: (N,) bool.
        """
        kept = chosen[self.rows]
        weights = None if self.weights is None else self.weights[kept]
        absent_offsets = absent_ids = None
        if self.absent_offsets is not None and self.absent_ids is not None:
            rows = rows_of(self.absent_offsets, len(self.absent_ids))
            absent_offsets = _offsets(self.absent_offsets.diff()[chosen])
            absent_ids = self.absent_ids[chosen[rows]]
        offsets = _offsets(self.offsets.diff()[chosen])
        return BatchTargets(offsets, self.class_ids[kept], weights, absent_offsets, absent_ids)


def rows_of(offsets: Tensor, total: int) -> Tensor:
    """The image of each entry, (total,) int64; knowing the total spares the GPU a wait."""
    images = torch.arange(len(offsets) - 1, device=offsets.device)
    return images.repeat_interleave(offsets.diff(), output_size=total)


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def collate_targets(images: Sequence[ImageTargets | None]) -> BatchTargets:
    """The labels of a batch; None stands for padding or an unreadable image: no labels.

    Example:
        >>> batch = collate_targets([ImageTargets(np.array([1, 4])), None])
        >>> batch.offsets.tolist(), batch.class_ids.tolist()
        ([0, 2, 2], [1, 4])
    """
    none = ImageTargets(np.zeros(0, np.int64), None, np.zeros(0, np.int64))
    found = [none if image is None else image for image in images]
    offsets, class_ids = _joined([image.class_ids for image in found])
    weights = None
    if any(image.weights is not None for image in found):
        parts = [
            np.ones(len(image.class_ids), np.float32) if image.weights is None else image.weights
            for image in found
        ]
        weights = torch.from_numpy(np.concatenate(parts).astype(np.float32))
    known = [image for image in images if image is not None]
    if not known or any(image.absent_ids is None for image in known):
        return BatchTargets(offsets, class_ids, weights)
    absent = [image.absent_ids for image in found if image.absent_ids is not None]
    return BatchTargets(offsets, class_ids, weights, *_joined(absent))


def _joined(parts: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return torch.from_numpy(offsets), torch.from_numpy(np.concatenate(parts).astype(np.int64))


@dataclass(frozen=True)
class Ragged:
    """Lists of different lengths in two arrays: list i is ``values[offsets[i]:offsets[i + 1]]``.

    Attributes:
        offsets: (n + 1,) int64.
        values: (L,).
    """

    offsets: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, index: int) -> np.ndarray:
        """List ``index``."""
        return np.asarray(self.values[self.offsets[index] : self.offsets[index + 1]])

    @property
    def rows(self) -> np.ndarray:
        """The list that each value belongs to, (L,) int64."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def places(self, indices: np.ndarray) -> np.ndarray:
        """Where the values of some lists lie, one list after the other."""
        counts = np.diff(self.offsets)[indices]
        starts = self.offsets[:-1][indices]
        shift = np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return np.arange(len(shift)) + shift

    def select(self, indices: np.ndarray) -> "Ragged":
        """Some of the lists, in that order."""
        counts = np.diff(self.offsets)[indices]
        return Ragged(np.concatenate([[0], np.cumsum(counts)]), self.values[self.places(indices)])


@dataclass(frozen=True)
class SparseLabels:
    """The labels of a whole data set: 8 bytes an image, and 2 or 4 a label.

    Loader processes share them with the main process, as they are never written to.

    Attributes:
        present: The classes that each image has, ascending.
        weights: (L,) float32 weights of the labels in the loss; None: 1.
        absent: The classes that each image is known not to have; None: all others.

    Example:
        >>> labels = SparseLabels.from_lists([[2, 0], [1]], num_classes=3)
        >>> labels[0].class_ids.tolist(), len(labels)
        ([0, 2], 2)
    """

    present: Ragged
    weights: np.ndarray | None = None
    absent: Ragged | None = None

    @classmethod
    def from_lists(
        cls,
        class_ids: Sequence[Sequence[int]],
        num_classes: int,
        *,
        absent_ids: Sequence[Sequence[int]] | None = None,
    ) -> "SparseLabels":
        """From one list of class ids per image, unweighted."""
        absent = None
        if absent_ids is not None:
            absent = sorted_lists(_ragged(absent_ids), num_classes)[0]
        return cls(sorted_lists(_ragged(class_ids), num_classes)[0], None, absent)

    def __len__(self) -> int:
        return len(self.present)

    @overload
    def __getitem__(self, index: int) -> ImageTargets: ...
    @overload
    def __getitem__(self, index: np.ndarray) -> "SparseLabels": ...
    def __getitem__(self, index: Any) -> "ImageTargets | SparseLabels":
        if isinstance(index, np.ndarray):
            places = self.present.places(index)
            return SparseLabels(
                self.present.select(index),
                None if self.weights is None else self.weights[places],
                None if self.absent is None else self.absent.select(index),
            )
        index = range(len(self))[index]
        start, end = self.present.offsets[index : index + 2]
        return ImageTargets(
            self.present.values[start:end],
            None if self.weights is None else self.weights[start:end],
            None if self.absent is None else self.absent.row(index),
        )

    @property
    def nbytes(self) -> int:
        """Memory, bytes."""
        parts = [self.present.offsets, self.present.values]
        parts += [] if self.weights is None else [self.weights]
        parts += [] if self.absent is None else [self.absent.offsets, self.absent.values]
        return sum(part.nbytes for part in parts)

    def images_per_class(self, num_classes: int) -> np.ndarray:
        """How many images have each class, (num_classes,) int64."""
        return np.bincount(self.present.values, minlength=num_classes)


def _ragged(lists: Sequence[Sequence[int]]) -> Ragged:
    offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
    return Ragged(offsets, np.array([value for one in lists for value in one], np.int64))


def sorted_lists(lists: Ragged, num_classes: int) -> tuple[Ragged, np.ndarray]:
    """Each list ascending, in the smallest type that holds the ids; and the order that made it so.

    Args:
        lists: Class ids in [0, num_classes).
        num_classes: One more than the largest id.
    """
    kind = np.uint16 if num_classes <= 2**16 else np.int32
    order = np.lexsort((lists.values, lists.rows))
    return Ragged(lists.offsets, lists.values[order].astype(kind)), order
