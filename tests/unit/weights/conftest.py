"""A small model with nothing neutral in it."""

import pytest
import torch

from xception.models.registry import create_model


def small_model(seed: int = 0, **arguments):
    """A Xception of a few thousand parameters for 32x32 images, with random statistics."""
    torch.manual_seed(seed)
    settings = {
        "num_classes": 3,
        "width": 0.125,
        "middle_flow_repeats": 2,
        "stem_strides": (1, 1),
        **arguments,
    }
    model = create_model("xception", **settings)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith(("running_var", "norm.weight")):
            tensor.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


@pytest.fixture
def make_model():
    return small_model


@pytest.fixture
def model():
    return small_model()


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
