"""Small versions of every network, and large ones without memory."""

import pytest
import torch

from xception.models.registry import create_model

SMALL = {
    "inception_v3": {"width": 0.125},
    "separable_vgg": {"width": 0.05},
    "xception": {"width": 0.125, "middle_flow_repeats": 2},
}
OURS = sorted(SMALL)
NAMES = [*OURS, "resnet50", "vgg16"]
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50", "vgg16")]


def build(name, **arguments):
    """A small version, with five classes."""
    return create_model(name, **(SMALL.get(name, {}) | {"num_classes": 5} | arguments))


def on_meta(name, **arguments):
    """A network of any size: shapes and names, no numbers."""
    with torch.device("meta"):
        return create_model(name, **arguments)
