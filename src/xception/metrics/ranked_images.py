"""What MAP@k keeps of an evaluation: of each image the k best classes, the labels and a key.

FastEval14k is 14,000 images times 17,000 classes; with k = 100 this is about 1 kB per image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xception.errors import InputError


class RankedImages(NamedTuple):
    """N images reduced to their k best classes and their labels.

    Attributes:
        class_ids: (N, k) int32, best first; -1 where fewer than k classes were annotated.
        scores: (N, k) float32, -inf where the class id is -1.
        relevant: (N, k) bool, whether the image has that class.
        label_counts: (N,) int64, number of labels of each image.
        labels: (L,) int32, the labels of all images, one image after the other.
        keys: (N,) int64 ≥ 0, the image's name over all processes; -1 if it was given none.
    """

    class_ids: Tensor
    scores: Tensor
    relevant: Tensor
    label_counts: Tensor
    labels: Tensor
    keys: Tensor

    @classmethod
    def none(cls, k: int) -> "RankedImages":
        """Returns no images at all, in the types of some."""
        return cls(
            torch.empty(0, k, dtype=torch.int32),
            torch.empty(0, k, dtype=torch.float32),
            torch.empty(0, k, dtype=torch.bool),
            torch.empty(0, dtype=torch.int64),
            torch.empty(0, dtype=torch.int32),
            torch.empty(0, dtype=torch.int64),
        )

    @property
    def label_rows(self) -> Tensor:
        """The image that each label belongs to, (L,) int64."""
        images = torch.arange(len(self.keys), device=self.keys.device)
        return images.repeat_interleave(self.label_counts)

    def select(self, rows: Tensor) -> "RankedImages":
        """Returns the images of the given row numbers, in that order.

        Args:
            rows: (M,) int64.
        """
        counts = self.label_counts[rows]
        ends = self.label_counts.cumsum(0)[rows]
        new_starts = counts.cumsum(0) - counts
        shift = (ends - counts - new_starts).repeat_interleave(counts)
        labels = self.labels[torch.arange(len(shift), device=shift.device) + shift]
        return RankedImages(
            self.class_ids[rows],
            self.scores[rows],
            self.relevant[rows],
            counts,
            labels,
            self.keys[rows],
        )


def unique_images(ranked: RankedImages) -> tuple[RankedImages, int]:
    """Drops images whose key came before, as samplers repeat images to fill the last batch.

    Args:
        ranked: Images in any order; those with key -1 are never dropped.

    Returns:
        The images in ascending order of their keys (so that the result does not depend on who
        evaluated what), and the number of those dropped.

    Raises:
        InputError: Two images with one key have different labels.
    """
    keys, order = ranked.keys.sort(stable=True)
    repeated = torch.zeros_like(keys, dtype=torch.bool)
    repeated[1:] = (keys.diff() == 0) & (keys[1:] >= 0)
    again = repeated.nonzero()[:, 0]
    first, second = ranked.select(order[again - 1]), ranked.select(order[again])
    if not (
        torch.equal(first.label_counts, second.label_counts)
        and torch.equal(first.labels, second.labels)
    ):
        raise InputError(_conflict(first, second))
    return ranked.select(order[~repeated]), len(again)


def concatenate(parts: Sequence[RankedImages]) -> RankedImages:
    """Returns the images of all parts, one part after the other."""
    return RankedImages(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _conflict(first: RankedImages, second: RankedImages) -> str:
    pairs = zip(
        first.keys.tolist(),
        first.labels.split(first.label_counts.tolist()),
        second.labels.split(second.label_counts.tolist()),
        strict=True,
    )
    key = next(key for key, one, other in pairs if not torch.equal(one, other))
    return (
        f"key {key} was given to two images with different labels; a key must name one image "
        "over all batches and processes (its index in the data set, not in the batch)"
    )
