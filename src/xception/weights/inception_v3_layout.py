"""Inception V3's 94 convolutions in the order of their creation, with each project's names.

Keras names none of them: they are numbered automatically in the order of creation, which is also
the order of this table, while Keras' ``model.layers`` (and so every file of Keras) has them in the
order `KERAS_ORDER`.
"""

_TORCHVISION = {
    "branch1x1.0": "branch1x1",
    "branch_pool.0": "branch_pool",
    **{f"branch5x5.{i}": f"branch5x5_{i + 1}" for i in range(2)},
    **{f"branch3x3_double.{i}": f"branch3x3dbl_{i + 1}" for i in range(3)},
    **{f"branch7x7.{i}": f"branch7x7_{i + 1}" for i in range(3)},
    **{f"branch7x7_double.{i}": f"branch7x7dbl_{i + 1}" for i in range(5)},
    "branch3x3.0": "branch3x3_1",
    "branch3x3.1": "branch3x3_2",
    "branch3x3_wide": "branch3x3_2a",
    "branch3x3_tall": "branch3x3_2b",
    "branch3x3_double_wide": "branch3x3dbl_3a",
    "branch3x3_double_tall": "branch3x3dbl_3b",
}


def _module(ours: str, torchvision: str, *branches: tuple[str, int]) -> list[tuple[str, str]]:
    """Pairs of names of one module; a number of 0 marks a single convolution."""
    layers = []
    for branch, count in branches:
        for name in [f"{branch}.{i}" for i in range(count)] or [branch]:
            layers.append((f"{ours}.{name}", f"{torchvision}.{_TORCHVISION[name]}"))
    return layers


_GRID35 = (("branch1x1", 1), ("branch5x5", 2), ("branch3x3_double", 3), ("branch_pool", 1))
_GRID17 = (("branch1x1", 1), ("branch7x7", 3), ("branch7x7_double", 5), ("branch_pool", 1))
_GRID8 = (
    ("branch1x1", 1),
    ("branch3x3", 1),
    ("branch3x3_wide", 0),
    ("branch3x3_tall", 0),
    ("branch3x3_double", 2),
    ("branch3x3_double_wide", 0),
    ("branch3x3_double_tall", 0),
    ("branch_pool", 1),
)

LAYERS: tuple[tuple[str, str], ...] = (
    ("stem.conv1", "Conv2d_1a_3x3"),
    ("stem.conv2", "Conv2d_2a_3x3"),
    ("stem.conv3", "Conv2d_2b_3x3"),
    ("stem.conv4", "Conv2d_3b_1x1"),
    ("stem.conv5", "Conv2d_4a_3x3"),
    *_module("grid35.0", "Mixed_5b", *_GRID35),
    *_module("grid35.1", "Mixed_5c", *_GRID35),
    *_module("grid35.2", "Mixed_5d", *_GRID35),
    ("reduction35.branch3x3.0", "Mixed_6a.branch3x3"),
    *_module("reduction35", "Mixed_6a", ("branch3x3_double", 3)),
    *_module("grid17.0", "Mixed_6b", *_GRID17),
    *_module("grid17.1", "Mixed_6c", *_GRID17),
    *_module("grid17.2", "Mixed_6d", *_GRID17),
    *_module("grid17.3", "Mixed_6e", *_GRID17),
    *_module("reduction17", "Mixed_7a", ("branch3x3", 2)),
    *((f"reduction17.branch7x7.{i}", f"Mixed_7a.branch7x7x3_{i + 1}") for i in range(4)),
    *_module("grid8.0", "Mixed_7b", *_GRID8),
    *_module("grid8.1", "Mixed_7c", *_GRID8),
)
"""(our prefix, torchvision's and timm's); below it are "conv" and "norm", there "conv" and "bn"."""

# fmt: off
KERAS_ORDER = (
    0, 1, 2, 3, 4, 8, 6, 9, 5, 7, 10, 11, 15, 13, 16, 12, 14, 17, 18, 22, 20, 23, 19, 21, 24, 25,
    27, 28, 26, 29, 34, 35, 31, 36, 32, 37, 30, 33, 38, 39, 44, 45, 41, 46, 42, 47, 40, 43, 48, 49,
    54, 55, 51, 56, 52, 57, 50, 53, 58, 59, 64, 65, 61, 66, 62, 67, 60, 63, 68, 69, 72, 73, 70, 74,
    71, 75, 80, 77, 81, 78, 79, 82, 83, 76, 84, 89, 86, 90, 87, 88, 91, 92, 85, 93,
)
# fmt: on
"""Which one of `LAYERS` stands at each place of Keras' ``model.layers``.

Keras sorts layers by their depth, counted from the output, so that branches are interleaved.
"""
