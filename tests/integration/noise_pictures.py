"""A folder of images for runs that are moved, or whose images change."""

import numpy as np
from PIL import Image


def write_pictures(folder, count):
    """As many pictures of noise in each of two classes."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (36, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
