"""What users of timm expect of every network, on small versions of each."""

import copy
import io
import json

import pytest
import torch
import torch.nn.functional as F
import torchvision

from xception.errors import InputError
from xception.models.inception_v3 import InceptionV3
from xception.models.registry import create_model, list_models, model_class
from xception.models.separable_vgg import SeparableVGG

SMALL = {
    "inception_v3": {"width": 0.125},
    "separable_vgg": {"width": 0.05},
    "xception": {"width": 0.125, "middle_flow_repeats": 2},
}
OURS = sorted(SMALL)
NAMES = [*OURS, "resnet50", "vgg16"]
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50", "vgg16")]


def build(name, **arguments):
    return create_model(name, **(SMALL.get(name, {}) | {"num_classes": 5} | arguments))


def on_meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_feature_maps_have_their_strides(name, output_stride):
    model = on_meta(name, features_only=True, output_stride=output_stride)
    maps = model(torch.empty(1, 3, 256, 256, device="meta"))
    assert model.feature_strides == [min(s, output_stride) for s in (2, 4, 8, 16, 32)]
    assert [m.shape[1] for m in maps] == model.feature_channels
    for m, stride in zip(maps, model.feature_strides, strict=True):
        # VALID convolutions lose a border of up to ten cells at stride 8
        assert 256 / stride - 10 <= m.shape[2] <= 256 / stride


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


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("xception", {"numerics": "timm"}),
        ("xception", {"numerics": "keras"}),
        ("inception_v3", {"variant": "standard", "numerics": "keras"}),
        ("inception_v3", {"variant": "standard", "numerics": "timm"}),
        ("inception_v3", {"variant": "paper"}),
        ("separable_vgg", {}),
        pytest.param("resnet50", {}, marks=pytest.mark.slow),
        pytest.param("vgg16", {}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilated_network_agrees_with_the_strided_one_on_its_grid(name, arguments, output_stride):
    """Dilation computes the same network at more places: every second or fourth is as before.

    71 pixels (Xception) have odd maps throughout, where the strided pool and convolution take the
    same places; 107 and 97 are such sizes for the others.
    """
    strided = build(name, **arguments).double().eval()
    dilated = build(name, output_stride=output_stride, **arguments).double().eval()
    state = strided.state_dict()
    for key, value in state.items():  # nothing neutral
        if key.endswith("running_mean"):
            value.normal_(std=0.1)
    dilated.load_state_dict(state)
    size = {"xception": 71, "inception_v3": 107}.get(name, 97)
    x = torch.randn(1, 3, size, size, dtype=torch.float64)
    step = 32 // output_stride
    with torch.no_grad():
        expected, dense = strided.forward_features(x), dilated.forward_features(x)
    torch.testing.assert_close(dense[..., ::step, ::step], expected, rtol=1e-9, atol=1e-12)
    assert dense.shape[2] > expected.shape[2]


@pytest.mark.parametrize("name", [*OURS, *LARGE])
def test_checkpointing_changes_memory_only(name):
    torch.manual_seed(0)
    plain = build(name).train()
    if name == "xception":
        plain = build(name, drop_path=0.5, dropout=0.3).train()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    x, labels = torch.randn(2, 3, 80, 80), torch.tensor([1, 2])
    kept = {}
    for key, model in (("plain", plain), ("saving", saving)):
        torch.manual_seed(1)  # dropout and stochastic depth
        total = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, total=total: total.append(t.numel()) or t, lambda t: t
        ):
            loss = F.cross_entropy(model(x), labels)
        kept[key] = sum(total)
        loss.backward()
    assert kept["saving"] < 0.9 * kept["plain"]
    for (key, own), other in zip(
        saving.state_dict().items(), plain.state_dict().values(), strict=True
    ):
        assert torch.equal(own, other), key  # running statistics were updated once, not twice
    for own, other in zip(saving.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)
    batches = [v for k, v in saving.state_dict().items() if k.endswith("num_batches_tracked")]
    assert all(int(v) == 1 for v in batches)


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


@pytest.mark.slow
def test_compiled_checkpointing_updates_statistics_once():
    torch.manual_seed(0)
    plain = build("xception").train()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    compiled = torch.compile(saving, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 3, 80, 80)
    plain(x).sum().backward()
    compiled(x).sum().backward()
    for (key, own), other in zip(
        saving.state_dict().items(), plain.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(own, other, msg=key)


@pytest.mark.parametrize("numerics", ["keras", "timm"])
@pytest.mark.parametrize("size", [71, 90, 96, 129])
@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilated_xception_agrees_at_even_sizes_too(numerics, size, output_stride):
    """TF-SAME pads even maps on one side only: the dilated pool must do so on its grid."""
    small = {"num_classes": 2, "width": 0.125, "middle_flow_repeats": 1, "numerics": numerics}
    strided = create_model("xception", **small).double().eval()
    dilated = create_model("xception", output_stride=output_stride, **small).double().eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, size, size, dtype=torch.float64)
    step = 32 // output_stride
    with torch.no_grad():
        expected, dense = strided.forward_features(x), dilated.forward_features(x)
    torch.testing.assert_close(dense[..., ::step, ::step], expected, rtol=1e-9, atol=1e-12)
