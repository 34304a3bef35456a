"""The embedded data set: scikit-learn's handwritten digits, which need no download.

1,797 real scans of 8x8 pixels with 17 levels of grey (UCI, Optical Recognition of Handwritten
Digits), shipped inside scikit-learn. Grey becomes RGB, 8x8 is enlarged to 32x32. One fixed split:
1,437 to train and 360 held out, each class with its share.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torchvision.transforms.v2 import functional as pixels

from xception.data.sources import ArraySource

HELD_OUT = 360
"""Images that are held out, of 1,797."""
_SPLIT_SEED = 0  # fixed: every recipe, seed and version holds out the same images
_SIZE = 32


def open_digits(split: Literal["train", "evaluation"]) -> ArraySource:
    """The digits 0 to 9 as (N, 3, 32, 32) images: 1,437 to train, 360 to evaluate.

    Example:
        >>> len(open_digits("train")), len(open_digits("evaluation"))
        (1437, 360)
    """
    images, labels, train, held_out = _scans()
    chosen = train if split == "train" else held_out
    return ArraySource(images[chosen], labels[chosen], [str(d) for d in range(10)], name="digits")


@lru_cache(maxsize=1)
def _scans() -> tuple[torch.Tensor, np.ndarray, np.ndarray, np.ndarray]:
    """All images, labels, and the sorted indices of the two splits."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    scans = load_digits()
    grey = np.rint(scans.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), 0 … 16 to 0 … 255
    small = torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1).contiguous()
    images = pixels.resize(small, [_SIZE, _SIZE], antialias=True)
    train, held_out = train_test_split(
        np.arange(len(grey)), test_size=HELD_OUT, stratify=scans.target, random_state=_SPLIT_SEED
    )
    return images, scans.target.astype(np.int64), np.sort(train), np.sort(held_out)
