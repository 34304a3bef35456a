"""How one batch is put together, in whatever process: a pure function of its place in the order."""

from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from xception.data.batch_memory import batch_memory
from xception.data.crop_decoding import Decoding, decode_augmented, require_decoding
from xception.data.decoding import UnreadableImageError
from xception.data.order import epoch_order, mixed_seed
from xception.data.preprocessing import Preprocessing
from xception.data.sources import AnySource, EncodedSource, has_encoded, is_multi_label
from xception.data.targets import BatchTargets, ImageTargets, collate_targets
from xception.data.transforms import Augmentation, TrainingTransform


class Batch(NamedTuple):
    """A batch of images, with what is needed to account for each.

    Attributes:
        images: (N, 3, S, S) uint8, plane by plane or pixel by pixel in memory; zeros where the
            label is -1.
        labels: (N,) int64; -1 marks padding or an unreadable image, which counts for nothing. In a
            multi-label batch every other image has 0 here, and its labels in ``targets``.
        indices: (N,) int64, into the source; -1 for padding.
        skipped: Unreadable images met on the way: index, and "name: reason".
        targets: The labels of a multi-label batch; None in one with a label to an image.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    skipped: list[tuple[int, str]]
    targets: BatchTargets | None = None


class TrainingBatches(Dataset[Batch]):
    """Training batches by (epoch, positions in the epoch's order).

    An unreadable sample is replaced by the next one of the order, up to ``attempts`` in a row;
    after that its label is -1.

    Args:
        source: The training images.
        transform: Augments them; a sample's generator is seeded by (seed, epoch, index).
        seed: Of the order and the augmentation.
        attempts: The most samples that are tried for one place in the batch.
        decoding: How encoded images are decoded; see `xception.data.crop_decoding`.

    Raises:
        InputError: The decoding does not exist, or what it needs is not installed.
    """

    def __init__(
        self,
        source: AnySource,
        transform: TrainingTransform,
        *,
        seed: int,
        attempts: int,
        decoding: Decoding = "exact",
    ) -> None:
        require_decoding(decoding)
        self.decoding = decoding
        self.source = source
        self._encoded = has_encoded(source)
        self.transform = transform
        self.seed = seed
        self.attempts = min(attempts, len(source))

    def __getitem__(self, place: tuple[int, range]) -> Batch:
        epoch, positions = place
        order = epoch_order(len(self.source), self.seed, epoch)
        images, indices, drawn = [], [], []
        # A photograph is shrunk at once: a batch of whole ones would ask for new memory each time.
        one_by_one = self.transform.crop == "inception"
        size = self.transform.size
        pixels = batch_memory((len(positions), 3, size, size), self.transform.layout)
        labels = torch.full((len(positions),), -1)
        targets: list[ImageTargets | None] = [None] * len(positions)
        skipped: list[tuple[int, str]] = []
        for row, position in enumerate(positions):
            for attempt in range(self.attempts):
                index = int(order[(position + attempt) % len(order)])
                generator = torch.Generator().manual_seed(mixed_seed(self.seed, epoch, index))
                try:
                    image, augmentation, label = self._open(index, generator)
                except UnreadableImageError as error:
                    skipped.append((index, f"{self.source.describe(index)}: {error}"))
                    continue
                labels[row], targets[row] = _told(label)
                break
            else:
                image = torch.zeros(3, size, size, dtype=torch.uint8)
                augmentation = self.transform.draw(generator, size, size)
            if one_by_one:
                self.transform.apply([image], [augmentation], out=pixels[row : row + 1])
            else:
                images.append(image)
                drawn.append(augmentation)
            indices.append(index)
        if not one_by_one:
            self.transform.apply(images, drawn, out=pixels)
        batch = Batch(pixels, labels, torch.tensor(indices), skipped)
        return _with_targets(batch, self.source, targets)

    def _open(
        self, index: int, generator: torch.Generator
    ) -> tuple[Tensor, Augmentation, int | ImageTargets]:
        """What is needed of an image, what was drawn for it, and its label."""
        if self._encoded:
            encoded, label = cast(EncodedSource, self.source).encoded(index)
            image, drawn = decode_augmented(
                encoded, self.transform, generator, decoding=self.decoding
            )
        else:
            image, label = self.source[index]
            drawn = self.transform.draw(generator, *image.shape[-2:])
        return image, drawn, label


class EvaluationBatches(Dataset[Batch]):
    """Evaluation batches by the range of their images; what lies past the last one is padding.

    Args:
        source: The images.
        preprocessing: Makes them the network's input size.
    """

    def __init__(self, source: AnySource, preprocessing: Preprocessing) -> None:
        self.source = source
        self.preprocessing = preprocessing

    def __getitem__(self, indices: range) -> Batch:
        size = self.preprocessing.size
        images = batch_memory((len(indices), 3, size, size), torch.channels_last)
        labels = torch.full((len(indices),), -1)
        targets: list[ImageTargets | None] = [None] * len(indices)
        found = torch.tensor([i if i < len(self.source) else -1 for i in indices])
        skipped: list[tuple[int, str]] = []
        for row, index in enumerate(indices):
            if index >= len(self.source):
                images[row:] = 0
                break
            try:
                image, label = self.source[index]
            except UnreadableImageError as error:
                skipped.append((index, f"{self.source.describe(index)}: {error}"))
                images[row] = 0
                continue
            images[row] = self.preprocessing(image)
            labels[row], targets[row] = _told(label)
        return _with_targets(Batch(images, labels, found, skipped), self.source, targets)


def _told(label: int | ImageTargets) -> tuple[int, ImageTargets | None]:
    """What stands in ``Batch.labels``, and what in ``Batch.targets``."""
    return (0, label) if isinstance(label, ImageTargets) else (label, None)


def _with_targets(batch: Batch, source: AnySource, targets: list[ImageTargets | None]) -> Batch:
    if not is_multi_label(source):
        return batch
    return batch._replace(targets=collate_targets(targets))
