"""The embedded multi-label data set: scenes composed of several of scikit-learn's scanned digits.

1 to 4 different scans stand in a black picture of 32x32 pixels, each in a quarter of its own, moved
and scaled at random; the labels are the digits that are there. Training scenes are made of
training scans only and held-out scenes of held-out scans (`xception.data.digits`). Everything is
drawn from a fixed seed: every recipe, seed and version sees the same scenes.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torchvision.transforms.v2 import functional as pixels

from xception.data.digits import open_digits
from xception.data.multi_label import MultiLabelArrays
from xception.data.targets import SparseLabels

SCENES = {"train": 2000, "evaluation": 500}
_SEED = {"train": 1, "evaluation": 2}
_SIZE, _CELL, _LEAST, _MOST = 32, 16, 11, 16  # pixels: scene, quarter, smallest and largest digit


@lru_cache(maxsize=2)
def open_digit_scenes(split: Literal["train", "evaluation"]) -> MultiLabelArrays:
    """The scenes as (N, 3, 32, 32) images with 10 classes: 2,000 to train, 500 to evaluate.

    Example:
        >>> scenes = open_digit_scenes("evaluation")
        >>> len(scenes), tuple(scenes[0][0].shape), scenes[0][1].class_ids.tolist()
        (500, (3, 32, 32), [4, 5, 6])
    """
    scans = open_digits(split)
    generator = np.random.default_rng(_SEED[split])
    scenes = torch.zeros(SCENES[split], 3, _SIZE, _SIZE, dtype=torch.uint8)
    resized = {
        side: pixels.resize(scans.images, [side, side], antialias=True)
        for side in range(_LEAST, _MOST + 1)
    }
    labels = []
    for scene in scenes:
        count = int(generator.integers(1, 5))
        quarters = generator.permutation(4)[:count]
        chosen = generator.choice(len(scans), count, replace=False)
        for quarter, scan in zip(quarters, chosen, strict=True):
            side = int(generator.integers(_LEAST, _MOST + 1))
            shift = generator.integers(0, _CELL - side + 1, 2)
            top, left = shift + _CELL * np.array(divmod(int(quarter), 2))
            scene[:, top : top + side, left : left + side] = resized[side][scan]
        labels.append(sorted({int(label) for label in scans.labels[chosen]}))
    return MultiLabelArrays(
        scenes, SparseLabels.from_lists(labels, 10), scans.class_names, f"digit scene ({split})"
    )
