import pytest
import torch
from small_networks import NAMES, build, on_meta

from xception.models.registry import create_model


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
