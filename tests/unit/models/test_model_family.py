"""What users of timm expect of every network, on small versions of each."""

import copy
import io
import json

import pytest
import torch
import torchvision
from small_networks import LARGE, NAMES, OURS, build, on_meta

from xception.errors import InputError
from xception.models.inception_v3 import InceptionV3
from xception.models.registry import create_model, list_models, model_class
from xception.models.separable_vgg import SeparableVGG


def test_list_models_names_the_family():
    assert list_models() == [
        "inception_v3",
        "resnet101",
        "resnet152",
        "resnet50",
        "separable_vgg",
        "vgg16",
        "xception",
        "xception_continuum",
    ]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("xception", 22_855_952),
        ("inception_v3", 23_834_568),
        ("resnet50", 25_557_032),  # torchvision's own counts, from its documentation
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("vgg16", 138_357_544),
    ],
)
def test_parameter_counts(name, parameters):
    assert sum(p.numel() for p in on_meta(name).parameters()) == parameters


def test_separable_vgg_is_as_large_as_the_papers_inception_v3():
    count = sum(p.numel() for p in on_meta("separable_vgg").parameters())
    assert count == 23_615_568
    assert abs(count / 23_626_728 - 1) < 1e-3
    model = on_meta("separable_vgg")
    assert not [n for n, _ in model.named_modules() if "shortcut" in n]
    assert sum(n.endswith("depthwise") for n, _ in model.named_modules()) == 13  # VGG-16's


@pytest.mark.parametrize("name", ["resnet50", "resnet101", "resnet152", "vgg16"])
def test_torchvisions_names_and_function_are_kept(name):
    ours = on_meta(name)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)()
    shapes = {k: v.shape for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == shapes


@pytest.mark.parametrize("name", LARGE)
def test_torchvisions_function_is_kept(name):
    model = build(name).eval()
    reference = getattr(torchvision.models, name)(num_classes=5).eval()
    reference.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(x), reference(x))


@pytest.mark.parametrize("name", [*NAMES, "resnet101", "resnet152"])
def test_arguments_rebuild_every_model(name):
    model = on_meta(name, num_classes=7, in_channels=2, dropout=0.1)
    stored = json.loads(json.dumps(model.arguments))
    assert stored == model.arguments
    assert model.architecture == name
    again = on_meta(model.architecture, **stored)
    shapes = {k: v.shape for k, v in model.state_dict().items()}
    assert {k: v.shape for k, v in again.state_dict().items()} == shapes
    assert (model.num_classes, model.in_channels) == (7, 2)
    assert model(torch.empty(3, 2, 96, 96, device="meta")).shape == (3, 7)


@pytest.mark.parametrize("name", NAMES)
def test_reset_classifier(name):
    model = on_meta(name, num_classes=7)
    images = torch.empty(2, 3, 96, 96, device="meta")
    model.reset_classifier(3)
    assert model(images).shape == (2, 3)
    assert model.num_classes == model.arguments["num_classes"] == 3
    assert set(on_meta(name, **model.arguments).state_dict()) == set(model.state_dict())
    model.reset_classifier(0)
    assert model(images).shape == (2, {"vgg16": 4096, "separable_vgg": 2512}.get(name, 2048))
    assert set(on_meta(name, **model.arguments).state_dict()) == set(model.state_dict())
    with pytest.raises(InputError, match="no classifier to reset"):
        on_meta(name, features_only=True).reset_classifier(2)


@pytest.mark.parametrize("name", OURS)
def test_feature_maps_end_with_forward_features(name):
    model = build(name).eval()
    features = build(name, features_only=True).eval()
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("head")}
    features.load_state_dict(state)
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        last = model.forward_features(x)
        assert torch.equal(features(x)[-1], last)
        assert all(m.min() >= 0 for m in features(x))  # after a ReLU
        torch.testing.assert_close(model.head(last), model(x))


@pytest.mark.parametrize("name", ["xception", LARGE[0]])
def test_stochastic_depth_skips_branches_in_training_only(name):
    torch.manual_seed(0)
    model = build(name, drop_path=0.9).train()
    same = build(name).train()
    same.load_state_dict(model.state_dict())
    x = torch.randn(4, 3, 80, 80)
    assert not torch.allclose(model(x), same(x))
    same.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(x), same.eval()(x))


def test_stochastic_depth_rises_from_zero_to_its_rate():
    model = build("xception", drop_path=0.4)
    rates = [m.drop_path.p for m in model.modules() if hasattr(m, "drop_path")]
    assert rates == pytest.approx([0.0, 0.08, 0.16, 0.24, 0.32, 0.4])  # six residual modules


@pytest.mark.parametrize("name", [*OURS, *LARGE])
def test_every_model_survives_copy_and_pickle(name):
    model = build(name).eval()
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    x = torch.randn(1, 3, 80, 80)
    with torch.no_grad():
        expected = model(x)
        assert torch.equal(copy.deepcopy(model)(x), expected)
        assert torch.equal(torch.load(stream, weights_only=False)(x), expected)


@pytest.mark.parametrize("name", [*OURS, *LARGE])
def test_too_small_images_are_refused(name):
    model = build(name).eval()
    size = model.minimum_input_size
    with torch.no_grad():
        assert model(torch.zeros(1, 3, size, size)).shape == (1, 5)
    with pytest.raises(InputError, match=f"needs at least {size}x{size}"):
        model(torch.zeros(1, 3, size - 1, size))


def test_small_images_suit_the_small_siblings():
    for model in (
        InceptionV3(width=0.125, stem_strides=(1, 1, 1, 2)),
        SeparableVGG(width=0.05, stem_stride=1),
    ):
        assert model.minimum_input_size <= 32
        assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
    assert InceptionV3(width=0.125).minimum_input_size == 75


def test_unknown_models_and_arguments_are_told():
    with pytest.raises(InputError, match="there is no model 'xcepton'; did you mean 'xception'"):
        create_model("xcepton")
    with pytest.raises(InputError, match="no argument 'droput'; did you mean 'dropout'"):
        create_model("xception", droput=0.5)
    with pytest.raises(InputError, match=r"variant='papers' is not possible.*mean 'paper'"):
        create_model("inception_v3", variant="papers")
    assert model_class("inception_v3") is InceptionV3
