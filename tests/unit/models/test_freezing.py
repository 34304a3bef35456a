"""Freezing: no gradient, no moving statistics, the same names."""

import copy

import pytest
import torch
from torch import nn

from xception.errors import InputError
from xception.models.freezing import FrozenBatchNorm2d, freeze, unfreeze
from xception.models.registry import create_model


def small(**arguments):
    torch.manual_seed(0)
    settings = {"width": 0.125, "middle_flow_repeats": 2, "stem_strides": (1, 1), "num_classes": 3}
    return create_model("xception", **(settings | arguments))


def step(model):
    """One training step; returns the names in the state dict that it changed."""
    before = copy.deepcopy(model.state_dict())
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    model.train()
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    after = model.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_without_a_place_all_but_the_head_is_frozen():
    model = small(fc_units=(6,))
    frozen = freeze(model)
    assert set(frozen) == {n for n, _ in model.named_parameters() if not n.startswith("head.")}
    assert step(model) == {n for n in model.state_dict() if n.startswith("head.")}


@pytest.mark.parametrize(
    ("up_to", "first_kept"),
    [
        ("entry_flow.conv1", "entry_flow.conv2"),
        ("entry_flow", "middle_flow.0"),
        ("middle_flow.0", "middle_flow.1"),
        ("middle_flow", "exit_flow.module1"),
        ("exit_flow.module1", "exit_flow.separable1"),
    ],
)
def test_everything_up_to_the_place_stays_and_all_beyond_moves(up_to, first_kept):
    model = small()
    order = list(model.state_dict())
    beyond = order[next(i for i, n in enumerate(order) if n.startswith(f"{first_kept}.")) :]
    freeze(model, up_to=up_to)
    assert list(model.state_dict()) == order
    changed = step(model)
    # the last depthwise weights can be dead for some draws, but statistics always move
    assert changed <= set(beyond)
    assert {n for n in beyond if "running" in n or "pointwise" in n} <= changed


def test_frozen_batch_norms_normalise_with_their_stored_statistics_in_training():
    model = small()
    freeze(model)
    x = torch.randn(4, 3, 32, 32)
    assert torch.equal(model.train().forward_features(x), model.eval().forward_features(x))


def test_frozen_batch_norms_survive_train_copies_and_the_conversion_to_sync_batch_norm():
    model = small()
    freeze(model, up_to="entry_flow")
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model)).train()
    kept = [m for m in converted.entry_flow.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert len(kept) == 2 + 3 * 3
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in converted.entry_flow.modules())
    assert any(isinstance(m, nn.SyncBatchNorm) for m in converted.middle_flow.modules())


def test_unfreeze_restores_everything():
    model = small()
    plain = [(n, type(m)) for n, m in model.named_modules()]
    norm = model.entry_flow.conv1.norm
    constants = norm.eps, norm.momentum
    freeze(model)
    freeze(model)  # twice is once
    unfreeze(model)
    assert [(n, type(m)) for n, m in model.named_modules()] == plain
    thawed = model.entry_flow.conv1.norm
    assert (thawed.eps, thawed.momentum) == constants
    assert {n for n in model.state_dict() if "running" in n} <= step(model)


@pytest.mark.parametrize("name", ["inception_v3", "separable_vgg"])
def test_other_networks_freeze_too(name):
    model = create_model(name, width=0.125, num_classes=3)
    freeze(model)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [
        "head.classifier.weight",
        "head.classifier.bias",
    ]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def test_torchvisions_networks_freeze_too():
    with torch.device("meta"):
        model = create_model("resnet50")
        freeze(model, up_to="layer2")
        vgg = create_model("vgg16")
        freeze(vgg)
    trained = {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"layer3", "layer4", "fc"}
    assert {n.split(".")[0] for n, p in vgg.named_parameters() if p.requires_grad} == {"classifier"}


@pytest.mark.parametrize("place", ["entry_flw", "middle_flow.9", ""])
def test_an_unknown_place_is_told(place):
    message = "no module '.*' to freeze up to.*entry_flow, middle_flow, exit_flow, head"
    with pytest.raises(InputError, match=message):
        freeze(small(), up_to=place)
