"""The photographs of ``xception benchmark data``: a folder's, or generated ones."""

from pathlib import Path

import numpy as np
from PIL import Image

from xception.data.sources import FileSource
from xception.errors import InputError

ENDINGS = frozenset((".jpg", ".jpeg"))
_HEIGHT, _WIDTH = 375, 500  # ImageNet's most frequent size


def find_jpegs(folder: Path, most: int) -> list[str]:
    """The first JPEGs of a folder and the folders below, by name: paths below the folder.

    Raises:
        InputError: There is no such folder, or not one JPEG in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give one with JPEGs, or none")
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS
    )
    if not found:
        raise InputError(f"{folder} holds no JPEGs; give a folder with some, or none")
    return found[:most]


def source_of(folder: Path, names: list[str]) -> FileSource:
    """These files as a source of one class."""
    return FileSource(folder, names, np.zeros(len(names), dtype=np.int64), ["all"])


def generate_jpegs(folder: Path, count: int) -> list[str]:
    """Writes pictures that cost about as much to decode as ImageNet's photographs.

    Noise at every scale, coarser the stronger, as in photographs; 500x375 pixels and, on average,
    some 110 kB, as ImageNet's. Picture i is a pure function of i.

    Returns:
        Their names in the folder.
    """
    names = []
    for number in range(count):
        generator = np.random.default_rng(number)
        pixels = np.zeros((_HEIGHT, _WIDTH, 3))
        for grain in (128, 64, 32, 16, 8, 4, 2, 1):
            shape = (-(-_HEIGHT // grain), -(-_WIDTH // grain), 3)
            coarse = generator.normal(0, 2.2 * grain**0.6, shape)
            fine = coarse.repeat(grain, 0).repeat(grain, 1)
            pixels += fine[:_HEIGHT, :_WIDTH]
        name = f"{number:05d}.jpg"
        image = Image.fromarray((pixels + 128).clip(0, 255).astype(np.uint8))
        image.save(folder / name, quality=95, subsampling="4:4:4")
        names.append(name)
    return names
