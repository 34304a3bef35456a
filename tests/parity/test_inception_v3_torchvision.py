"""Inception V3 with numerics="timm" against torchvision's and timm's inception_v3."""

import copy

import keras_reference as reference
import pytest
import timm
import torch
import torchvision

from xception.models.inception_v3 import InceptionV3
from xception.models.inception_v3_modules import InceptionConv

_MODULES = {
    "stem": ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"],
    "grid35": ["Mixed_5b", "Mixed_5c", "Mixed_5d"],
    "reduction35": ["Mixed_6a"],
    "grid17": ["Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"],
    "reduction17": ["Mixed_7a"],
    "grid8": ["Mixed_7b", "Mixed_7c"],
}
_BRANCHES = {
    "grid35": {
        "branch1x1.0": "branch1x1",
        "branch5x5.0": "branch5x5_1",
        "branch5x5.1": "branch5x5_2",
        "branch3x3_double.0": "branch3x3dbl_1",
        "branch3x3_double.1": "branch3x3dbl_2",
        "branch3x3_double.2": "branch3x3dbl_3",
        "branch_pool.0": "branch_pool",
    },
    "reduction35": {
        "branch3x3.0": "branch3x3",
        "branch3x3_double.0": "branch3x3dbl_1",
        "branch3x3_double.1": "branch3x3dbl_2",
        "branch3x3_double.2": "branch3x3dbl_3",
    },
    "grid17": {
        "branch1x1.0": "branch1x1",
        **{f"branch7x7.{i}": f"branch7x7_{i + 1}" for i in range(3)},
        **{f"branch7x7_double.{i}": f"branch7x7dbl_{i + 1}" for i in range(5)},
        "branch_pool.0": "branch_pool",
    },
    "reduction17": {
        "branch3x3.0": "branch3x3_1",
        "branch3x3.1": "branch3x3_2",
        **{f"branch7x7.{i}": f"branch7x7x3_{i + 1}" for i in range(4)},
    },
    "grid8": {
        "branch1x1.0": "branch1x1",
        "branch3x3.0": "branch3x3_1",
        "branch3x3_wide": "branch3x3_2a",
        "branch3x3_tall": "branch3x3_2b",
        "branch3x3_double.0": "branch3x3dbl_1",
        "branch3x3_double.1": "branch3x3dbl_2",
        "branch3x3_double_wide": "branch3x3dbl_3a",
        "branch3x3_double_tall": "branch3x3dbl_3b",
        "branch_pool.0": "branch_pool",
    },
}


def torchvision_name(name):
    """Our state-dict name in torchvision's naming, from its source."""
    if name.startswith("head"):
        return f"fc.{name.split('.')[-1]}"
    unit, layer, tensor = name.rsplit(".", 2)
    stage, _, branch = unit.partition(".")
    layer = {"conv": "conv", "norm": "bn"}[layer]
    if stage == "stem":
        return f"{_MODULES[stage][int(branch[-1]) - 1]}.{layer}.{tensor}"
    index = 0
    if stage.startswith("grid"):
        number, _, branch = branch.partition(".")
        index = int(number)
    return f"{_MODULES[stage][index]}.{_BRANCHES[stage][branch]}.{layer}.{tensor}"


def random_images(size, count=1):
    generator = torch.Generator().manual_seed(size)
    return torch.rand(count, 3, size, size, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.fixture(scope="module")
def ours():
    torch.manual_seed(0)
    model = InceptionV3(num_classes=20, numerics="timm").double()
    return reference.calibrate(model, random_images(107, 4))


@pytest.fixture(scope="module")
def theirs(ours):
    def build():
        return torchvision.models.inception_v3(
            aux_logits=False, transform_input=False, init_weights=False, num_classes=20
        )

    state = {torchvision_name(k): v for k, v in ours.state_dict().items()}
    return reference.copied(build, state)


@pytest.mark.parametrize("size", [107, pytest.param(299, marks=pytest.mark.slow)])
def test_float64_logits_equal_torchvision(ours, theirs, size):
    images = random_images(size)
    with torch.no_grad():
        assert reference.relative_error(ours(images), theirs(images)) <= 1e-9


@pytest.mark.parametrize("size", [107, pytest.param(299, marks=pytest.mark.slow)])
def test_float32_logits_equal_torchvision(ours, theirs, size):
    images = random_images(size).float()
    state = ours.state_dict()
    model = reference.copied(
        lambda: InceptionV3(num_classes=20, numerics="timm"), state, torch.float32
    )
    other = copy.deepcopy(theirs).float()
    with torch.no_grad():
        assert reference.relative_error(model(images), other(images)) <= 2e-4


def test_pools_without_the_padding_fail(ours, theirs):
    wrong = reference.copied(lambda: InceptionV3(num_classes=20), ours.state_dict())
    images = random_images(107)
    with torch.no_grad():
        assert reference.relative_error(wrong(images), theirs(images)) > 1e-2


def test_feature_maps_equal_timm(ours):
    ours = {k: v for k, v in ours.state_dict().items() if "head" not in k}
    theirs = reference.copied(
        lambda: timm.create_model("inception_v3", pretrained=False, features_only=True),
        {torchvision_name(k): v for k, v in ours.items()},
    )
    model = reference.copied(lambda: InceptionV3(numerics="timm", features_only=True), ours)
    assert model.feature_channels == theirs.feature_info.channels()
    assert model.feature_strides == theirs.feature_info.reduction()
    images = random_images(75)
    with torch.no_grad():
        maps, expected = model(images), theirs(images)
    for own, other in zip(maps, expected, strict=True):
        assert reference.relative_error(own, other) <= 1e-9


def test_every_name_is_torchvisions(ours):
    assert len(units := {k.rsplit(".", 2)[0] for k in ours.state_dict()}) == 94 + 1, units
    assert sum(isinstance(m, InceptionConv) for m in ours.modules()) == 94
