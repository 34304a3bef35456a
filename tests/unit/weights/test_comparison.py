"""The comparison of two models: what differs, by how much, and where first."""

import copy

import pytest
import torch

from xception.weights.comparison import (
    ActivationComparison,
    TensorComparison,
    compare_activations,
    compare_tensors,
    difference,
)
from xception.weights.files import save_model
from xception.weights.verification import verify


def test_difference_measures_by_hand():
    found = difference("a", torch.tensor([1.0, -8.0]), torch.tensor([1.5, -6.0]))
    assert (found.largest, found.relative) == (2.0, 0.25)
    found = difference("a", torch.zeros(2), torch.tensor([0.0, 1.0]))
    assert (found.largest, found.relative) == (1.0, float("inf"))
    found = difference("a", torch.zeros(2), torch.zeros(2))
    assert (found.largest, found.relative) == (0.0, 0.0)
    assert difference("a", torch.zeros(2), torch.zeros(3, 4)).reason == "shape 2 and 3x4"


def test_compare_tensors_finds_unmatched_and_changed_names(model):
    other = dict(copy.deepcopy(model.state_dict()))
    other["head.extra"] = other.pop("head.classifier.bias")
    other["middle_flow.0.separable2.norm.bias"] += 1
    found = compare_tensors(model.state_dict(), other)
    assert found.only_first == ["head.classifier.bias"]
    assert found.only_second == ["head.extra"]
    assert [d.name for d in found.differing()] == ["middle_flow.0.separable2.norm.bias"]


def test_the_first_layer_that_differs_is_named_in_the_order_of_the_calls(model, images):
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.exit_flow.separable1.conv.pointwise.weight.mul_(1.1)
        other.middle_flow[1].separable3.conv.depthwise.weight.mul_(1.1)
    found = compare_activations(model, other, images)
    assert found.first_difference().name == "middle_flow.1.separable3.conv.depthwise"
    assert found.first_difference().relative == pytest.approx(0.1, rel=1e-3)
    assert found.logits.largest > 0


def test_equal_models_have_no_first_difference(model, images):
    found = compare_activations(model, copy.deepcopy(model), images)
    assert found.first_difference(0.0) is None
    assert found.same_prediction == 1.0
    assert len(found.layers) > 40


def test_settings_without_tensors_are_seen_by_the_activations(make_model, images):
    """eps and pooling have no tensors: every value agrees, and yet the models differ."""
    first, second = make_model(1), make_model(1, numerics="timm")
    assert compare_tensors(first.state_dict(), second.state_dict()).differing() == []
    found = compare_activations(first, second, images)
    assert found.first_difference(1e-5).name == "entry_flow.conv1.norm"


def test_the_mode_of_the_models_comes_back(model, images):
    training = copy.deepcopy(model).train()
    compare_activations(model, training, images)
    assert training.training
    assert not model.training


def test_verify_tells_of_models_that_can_not_be_built(make_model, tmp_path):
    import safetensors.torch

    from xception.weights.containers import read_safetensors_metadata

    save_model(make_model(1), tmp_path / "a.safetensors")
    tensors = safetensors.torch.load_file(tmp_path / "a.safetensors")
    del tensors["head.classifier.bias"]
    told = read_safetensors_metadata(tmp_path / "a.safetensors")["xception"]
    import json

    metadata = {"xception": json.dumps(told)}
    safetensors.torch.save_file(tensors, tmp_path / "b.safetensors", metadata=metadata)
    found = verify(tmp_path / "a.safetensors", tmp_path / "b.safetensors", size=32)
    assert not found.same(1e-4)
    assert found.activations is None
    assert "1 missing: head.classifier.bias" in found.obstacle
    assert found.tensors.only_first == ["head.classifier.bias"]


def test_verify_lists_settings_that_differ(make_model, tmp_path):
    from xception.data.preprocessing import Preprocessing

    for name, size in (("a", 32), ("b", 48)):
        save_model(
            make_model(1), tmp_path / f"{name}.safetensors", preprocessing=Preprocessing(size=size)
        )
    found = verify(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert found.settings == [("preprocessing.size", 32, 48)]
    assert found.same(0.0)


def test_not_a_number_is_the_largest_difference():
    whole, broken = torch.ones(4), torch.tensor([1.0, float("nan"), 1.0, 1.0])
    for pair in ((whole, broken), (broken, whole), (broken, broken)):
        found = difference("layer", *pair)
        small = difference("other", whole, whole + 1e-3)
        logits = difference("logits", whole, whole)
        compared = ActivationComparison([small, found], logits, 1.0)
        assert compared.worst() is found
        assert compared.first_difference(1e9) is found
        assert TensorComparison([], [], [logits, found]).differing()[0] is found
