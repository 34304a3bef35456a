"""Who is decayed, and which learning rate each level gets."""

import inspect

import pytest
import torch
from torch import nn

from xception.errors import InputError
from xception.models.freezing import freeze
from xception.models.parameter_groups import parameter_groups
from xception.models.registry import create_model, list_models, model_class


def on_meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


NETWORKS = [name for name in list_models() if name != "xception_continuum"]


@pytest.mark.parametrize("name", NETWORKS)
def test_decay_acts_on_convolution_and_dense_weights_only(name):
    model = on_meta(name)
    decayed = {
        module.weight for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    }
    groups = parameter_groups(model, weight_decay=4e-5)
    assert {p for g in groups if g["weight_decay"] == 4e-5 for p in g["params"]} == decayed
    rest = set(model.parameters()) - decayed
    assert {p for g in groups if g["weight_decay"] == 0 for p in g["params"]} == rest
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_layer_decay_falls_towards_the_image():
    model = on_meta("xception")
    groups = parameter_groups(model, weight_decay=1e-5, layer_decay=0.5, learning_rate=0.1)
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    # levels: conv1, conv2, three modules, eight modules, module, two separable, head: 17
    for name, below in (
        ("head.classifier.weight", 0),
        ("exit_flow.separable2.conv.pointwise.weight", 1),
        ("exit_flow.separable2.norm.bias", 1),
        ("exit_flow.module1.shortcut.conv.weight", 3),
        ("middle_flow.7.separable1.conv.depthwise.weight", 4),
        ("middle_flow.0.separable1.conv.depthwise.weight", 11),
        ("entry_flow.conv1.conv.weight", 16),
    ):
        assert rate[id(model.get_parameter(name))] == pytest.approx(0.1 * 0.5**below), name
    assert all(g["lr_scale"] == pytest.approx(g["lr"] / 0.1) for g in groups)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_level_of_every_network_is_used_and_ordered(name):
    model = on_meta(name)
    groups = parameter_groups(model, weight_decay=0.0, layer_decay=0.9)
    scales = [g["lr_scale"] for g in groups]
    assert scales == sorted(scales)  # parameters come in the order from the image to the head
    assert len(set(scales)) == len(model.depth_levels())
    assert max(scales) == 1.0


@pytest.mark.parametrize("without_head", [{"features_only": True}, {"num_classes": 0}])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_level_of_a_network_without_head_gets_the_whole_rate(name, without_head):
    if not without_head.keys() <= inspect.signature(model_class(name)).parameters.keys():
        pytest.skip(f"{name} has no such argument")
    model = on_meta(name, **without_head)
    levels = len(on_meta(name).depth_levels()) - 1
    if name == "vgg16" and "num_classes" in without_head:
        levels += 1  # its two hidden dense layers stay
    groups = parameter_groups(model, weight_decay=0.0, layer_decay=0.5, learning_rate=0.1)
    rates = {g["lr"] for g in groups}
    assert max(rates) == pytest.approx(0.1)
    assert min(rates) == pytest.approx(0.1 * 0.5 ** (levels - 1))


def test_groups_drive_a_torch_optimizer_and_leave_frozen_parameters_out():
    model = create_model("xception", width=0.125, num_classes=2)
    freeze(model)
    groups = parameter_groups(model, weight_decay=0.1, learning_rate=0.5)
    optimizer = torch.optim.SGD(groups, lr=1.0)
    assert [len(g["params"]) for g in optimizer.param_groups] == [1, 1]
    weight = model.head.classifier.weight
    before = weight.detach().clone()
    for parameter in model.head.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(weight, before * (1 - 0.5 * 0.1))


def test_layer_decay_is_validated():
    with pytest.raises(InputError, match="layer_decay=0 is not possible"):
        parameter_groups(on_meta("xception"), weight_decay=0.0, layer_decay=0)
