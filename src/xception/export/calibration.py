"""The images from which quantisation learns the ranges of activations."""

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from xception.data.preprocessing import Preprocessing
from xception.errors import InputError
from xception.inference.inputs import find_images
from xception.inference.prediction import open_image

FEWEST_IMAGES = 10  # activations' ranges of fewer are chance
MOST_IMAGES = 300  # more change nothing that a measurement shows


@dataclass(frozen=True)
class Calibration:
    """Images as the network sees them.

    Attributes:
        crops: (N, 3, S, S) uint8, as the network's preprocessing cuts them.
        origin: Where they come from, for the record.
    """

    crops: Tensor
    origin: str

    @property
    def digest(self) -> str:
        """Identifies the pixels."""
        return hashlib.sha256(self.crops.contiguous().numpy().data).hexdigest()


def make_calibration(crops: Sequence[Tensor], origin: str) -> Calibration:
    """Puts crops together.

    Args:
        crops: Each (3, S, S) uint8.
        origin: Where they come from.

    Raises:
        InputError: There are too few.
    """
    if len(crops) < FEWEST_IMAGES:
        raise InputError(
            f"there are {len(crops)} readable images in {origin}; quantisation needs at least "
            f"{FEWEST_IMAGES}, better {MOST_IMAGES}, like those that will be classified: "
            "give --calibration"
        )
    return Calibration(torch.stack(list(crops)), origin)


def read_calibration(
    paths: Iterable[str | Path], preprocessing: Preprocessing, origin: str
) -> Calibration:
    """Reads some of the images under files, folders and globs; unreadable ones are passed over.

    Args:
        paths: See ``find_images``.
        preprocessing: The network's.
        origin: What to call them.

    Returns:
        At most ``MOST_IMAGES``, drawn at random with a fixed seed.

    Raises:
        InputError: Fewer than ``FEWEST_IMAGES`` can be read.
    """
    crops: list[Tensor] = []
    for path in _shuffled(find_images(paths)):
        try:
            crops.append(preprocessing(open_image(str(path))))
        except InputError:
            continue
        if len(crops) == MOST_IMAGES:
            break
    return make_calibration(crops, origin)


def _shuffled(paths: Iterable[Path]) -> list[Path]:
    """Twice as many paths as are needed, in random order; memory does not grow with their number.

    Reservoir sampling: the i-th path replaces a kept one with probability 2 · MOST_IMAGES / i.
    """
    generator = random.Random(0)
    kept: list[Path] = []
    for number, path in enumerate(paths):
        if len(kept) < 2 * MOST_IMAGES:
            kept.append(path)
        elif (place := generator.randrange(number + 1)) < len(kept):
            kept[place] = path
    generator.shuffle(kept)
    return kept
