"""Multi-label targets: which classes each image has, as offsets + class ids or as multi-hot rows.

A JFT image has a handful of 17,000 classes, so the sparse form is the native one; a dense row of
zeros and ones is taken too and turned into it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xception.errors import InputError


class SparseTargets(NamedTuple):
    """The classes of N images: those of image i are ``class_ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        offsets: (N + 1,) int64, from 0 to L, never falling.
        class_ids: (L,) int64 in [0, num_classes), no class twice in one image.

    Example:
        >>> targets = SparseTargets.from_lists([[3, 1], [], [2]])
        >>> targets.offsets.tolist(), targets.class_ids.tolist()
        ([0, 2, 2, 3], [3, 1, 2])
    """

    offsets: Tensor
    class_ids: Tensor

    @classmethod
    def from_lists(cls, class_ids: Sequence[Sequence[int]]) -> "SparseTargets":
        """Builds the sparse form of one list of class ids per image."""
        counts = torch.tensor([0, *map(len, class_ids)], dtype=torch.int64)
        flat = [class_id for one_image in class_ids for class_id in one_image]
        return cls(counts.cumsum(0), torch.tensor(flat, dtype=torch.int64))

    @property
    def counts(self) -> Tensor:
        """Number of classes of each image, (N,) int64."""
        return self.offsets.diff()

    @property
    def rows(self) -> Tensor:
        """The image that each entry of ``class_ids`` belongs to, (L,) int64."""
        images = torch.arange(len(self.offsets) - 1, device=self.offsets.device)
        return images.repeat_interleave(self.counts)


def canonical_targets(
    targets: Tensor | tuple[Tensor, Tensor],
    num_images: int,
    num_classes: int,
    what: str = "targets",
) -> SparseTargets:
    """Checks targets of either form; returns them sparse, each image's class ids ascending.

    Args:
        targets: (N, num_classes) of zeros and ones, boolean, integer or float; or the pair
            (offsets, class ids) of `SparseTargets`.
        num_images: N.
        num_classes: Number of classes.
        what: What the message calls the argument.

    Raises:
        InputError: Wrong shape or type, a value other than 0 and 1, a class id outside
            [0, num_classes), a class twice in one image, offsets that do not fit the ids.

    Example:
        >>> canonical_targets(torch.tensor([[0, 1, 1], [0, 0, 0]]), 2, 3).class_ids.tolist()
        [1, 2]
    """
    if isinstance(targets, Tensor):
        return _from_dense(targets, num_images, num_classes, what)
    offsets, class_ids = _checked_pair(targets, num_images, what)
    sparse = SparseTargets(offsets, class_ids)
    outside = (class_ids < 0) | (class_ids >= num_classes)
    if outside.any():
        at = int(outside.nonzero()[0])
        raise InputError(
            f"{what}: image {int(sparse.rows[at])} of the batch has class id "
            f"{int(class_ids[at])}, but class ids go from 0 to {num_classes - 1}"
        )
    ordered = (sparse.rows * num_classes + class_ids).sort().values
    twice = ordered.diff() == 0
    if twice.any():
        row, class_id = divmod(int(ordered[int(twice.nonzero()[0])]), num_classes)
        raise InputError(
            f"{what}: image {row} of the batch lists class id {class_id} twice; list it once"
        )
    return SparseTargets(offsets, ordered % num_classes)


def _from_dense(targets: Tensor, num_images: int, num_classes: int, what: str) -> SparseTargets:
    if tuple(targets.shape) != (num_images, num_classes):
        raise InputError(
            f"{what} of shape {tuple(targets.shape)} do not fit scores of shape "
            f"{(num_images, num_classes)}; give one row of zeros and ones per image, "
            "or a pair (offsets, class ids)"
        )
    if targets.dtype != torch.bool and not ((targets == 0) | (targets == 1)).all():
        raise InputError(
            f"{what} must hold only zeros and ones, or be a pair (offsets, class ids); "
            "soft labels have no average precision"
        )
    rows, class_ids = targets.nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=num_images)
    return SparseTargets(torch.cat([counts.new_zeros(1), counts.cumsum(0)]), class_ids)


def _checked_pair(pair: tuple[Tensor, Tensor], num_images: int, what: str) -> tuple[Tensor, Tensor]:
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise InputError(
            f"{what} must be a tensor of zeros and ones or a pair (offsets, class ids), "
            f"not {type(pair).__name__}; SparseTargets.from_lists builds the pair from lists"
        )
    offsets, class_ids = (torch.as_tensor(part) for part in pair)
    for name, part in (("offsets", offsets), ("class ids", class_ids)):
        integral = not (part.is_floating_point() or part.is_complex() or part.dtype == torch.bool)
        if part.ndim != 1 or not (integral or part.numel() == 0):
            raise InputError(f"{what}: the {name} must be a flat tensor of integers")
    offsets, class_ids = offsets.to(torch.int64), class_ids.to(torch.int64)
    if len(offsets) != num_images + 1:
        raise InputError(
            f"{what}: {len(offsets)} offsets for {num_images} images; there must be one more "
            "offset than images, the last being the number of class ids"
        )
    if offsets[0] != 0 or offsets[-1] != len(class_ids) or (offsets.diff() < 0).any():
        raise InputError(
            f"{what}: the offsets must rise from 0 to the number of class ids, {len(class_ids)}"
        )
    return offsets, class_ids
