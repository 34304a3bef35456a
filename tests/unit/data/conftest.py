"""Images and folders of images that the tests of the data room are made on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xception.data.sources import ArraySource


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Random uint8 pixels of a shape, the same for the same seed."""

    def make(*shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture
def save_image(noise) -> Callable[..., Path]:
    """Writes one random image file, with the folders above it."""

    def save(path: Path, height: int = 9, width: int = 12, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(height, width, 3, seed=seed)).save(path)
        return path

    return save


@pytest.fixture
def numbered() -> Callable[[int], ArraySource]:
    """A source of n images, image i of which is filled with i (up to 255)."""

    def make(count: int, size: int = 8) -> ArraySource:
        values = torch.arange(count).clamp(max=255).to(torch.uint8)
        images = values[:, None, None, None].expand(-1, 3, size, size).contiguous()
        return ArraySource(images, [i % 3 for i in range(count)], ["a", "b", "c"], "numbered")

    return make
