"""Xception with numerics="timm" against timm's legacy_xception, statistics calibrated."""

import keras_reference as reference
import pytest
import timm
import torch

from xception.models.xception import Xception


def timm_name(name):
    """Our state-dict name in timm's naming, from timm's source (see its Block and Xception)."""
    flow, module, *rest = name.split(".")
    if flow == "head":
        return f"fc.{rest[-1]}"
    if flow == "entry_flow" and module.startswith("conv"):
        return f"{'conv' if rest[0] == 'conv' else 'bn'}{module[-1]}.{rest[-1]}"
    if flow == "exit_flow" and module.startswith("separable"):
        number = {"separable1": 3, "separable2": 4}[module]
        if rest[0] == "norm":
            return f"bn{number}.{rest[-1]}"
        return f"conv{number}.{'conv1' if rest[1] == 'depthwise' else 'pointwise'}.weight"
    if flow == "middle_flow":
        block = int(module) + 4
    else:
        block = 12 if flow == "exit_flow" else int(module[-1])
    if rest[0] == "shortcut":
        return f"block{block}.{'skip' if rest[1] == 'conv' else 'skipbn'}.{rest[-1]}"
    position = 3 * (int(rest[0][-1]) - 1) + (0 if block == 1 else 1)  # a ReLU stands before
    if rest[1] == "norm":
        return f"block{block}.rep.{position + 1}.{rest[-1]}"
    part = "conv1" if rest[2] == "depthwise" else "pointwise"
    return f"block{block}.rep.{position}.{part}.weight"


@pytest.fixture(scope="module")
def ours():
    torch.manual_seed(0)
    images = torch.rand(4, 3, 150, 150) * 2 - 1
    return reference.calibrate(Xception(numerics="timm"), images)


@pytest.fixture(scope="module")
def theirs(ours):
    return reference.copied(
        lambda: timm.create_model("legacy_xception", pretrained=False),
        {timm_name(k): v for k, v in ours.state_dict().items()},
        torch.float32,
    )


@pytest.mark.parametrize("size", [299, 150, 71])
def test_logits_equal_timm(ours, theirs, size):
    images = torch.rand(1, 3, size, size) * 2 - 1
    with torch.no_grad():
        logits, expected = ours(images), theirs(images)
    # float32, the same kernels in the same order: 0 or a few roundings
    assert reference.relative_error(logits, expected) <= 1e-5


def test_feature_maps_equal_timm(ours):
    ours = {k: v for k, v in ours.state_dict().items() if "head" not in k}
    theirs = reference.copied(
        lambda: timm.create_model("legacy_xception", pretrained=False, features_only=True),
        {f"body.{timm_name(k)}": v for k, v in ours.items()},
        torch.float32,
    )
    model = reference.copied(
        lambda: Xception(numerics="timm", features_only=True), ours, torch.float32
    )
    assert model.feature_channels == theirs.feature_info.channels()
    assert model.feature_strides == theirs.feature_info.reduction()
    images = torch.rand(1, 3, 96, 96) * 2 - 1
    with torch.no_grad():
        maps, expected = model(images), theirs(images)
    for own, other in zip(maps, expected, strict=True):
        assert reference.relative_error(own, other) <= 1e-5
