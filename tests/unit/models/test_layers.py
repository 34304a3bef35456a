"""Layers against scalar loops and arithmetic."""

import math

import pytest
import torch
import torch.nn.functional as F

from xception.errors import InputError
from xception.models.layers import SameMaxPool2d, SeparableConv2d, batch_norm, max_pool


def same_pool_by_hand(row, stride=2):
    """TF's SAME pooling of one row, by its definition."""
    n = len(row)
    out = math.ceil(n / stride)
    before = max((out - 1) * stride + 3 - n, 0) // 2
    windows = [range(i * stride - before, i * stride - before + 3) for i in range(out)]
    return [max(row[j] for j in window if 0 <= j < n) for window in windows]


@pytest.mark.parametrize("height", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("width", [1, 2, 5, 6, 9])
def test_same_max_pool_equals_its_definition(height, width):
    x = -torch.rand(2, 3, height, width) - 1  # negative: a padding of zeros would win
    rows = [[same_pool_by_hand(row) for row in image.tolist()] for image in x.flatten(0, 1)]
    columns = [[same_pool_by_hand(c) for c in torch.tensor(r).T.tolist()] for r in rows]
    expected = torch.stack([torch.tensor(c).T for c in columns])
    assert torch.equal(SameMaxPool2d()(x).flatten(0, 1), expected)


def test_dilated_pool_keeps_the_size_and_agrees_with_the_strided_one_on_its_grid():
    x = torch.randn(1, 4, 9, 13)
    dense = SameMaxPool2d(stride=1)(x)
    assert dense.shape == x.shape
    assert torch.equal(dense[..., ::2, ::2], SameMaxPool2d()(x))
    interleaved = SameMaxPool2d(stride=1, dilation=2)(x)
    assert torch.equal(interleaved[..., ::2, ::2], SameMaxPool2d(1)(x[..., ::2, ::2]))


def test_pools_of_the_profiles_differ_for_even_sizes_only():
    even, odd = torch.randn(1, 1, 8, 8), torch.randn(1, 1, 9, 9)
    assert torch.equal(max_pool("keras", 2)(odd), max_pool("timm", 2)(odd))
    assert not torch.equal(max_pool("keras", 2)(even), max_pool("timm", 2)(even))


def test_separable_convolution_equals_a_loop_over_channels():
    layer = SeparableConv2d(3, 2)
    x = torch.randn(1, 3, 4, 5)
    spatial, mix = layer.depthwise.weight, layer.pointwise.weight
    channels = [F.conv2d(x[:, c : c + 1], spatial[c : c + 1], padding=1) for c in range(3)]
    expected = [sum(mix[o, c, 0, 0] * channels[c] for c in range(3)) for o in range(2)]
    torch.testing.assert_close(layer(x), torch.cat(expected, 1))


def test_pointwise_first_equals_a_loop_over_channels():
    layer = SeparableConv2d(3, 2, order="pointwise-first", intermediate_activation="relu")
    x = torch.randn(1, 3, 4, 5)
    mix, spatial = layer.pointwise.weight, layer.depthwise.weight
    mixed = [F.relu(sum(mix[o, c, 0, 0] * x[:, c : c + 1] for c in range(3))) for o in range(2)]
    expected = [F.conv2d(mixed[o], spatial[o : o + 1], padding=1) for o in range(2)]
    torch.testing.assert_close(layer(x), torch.cat(expected, 1))


def test_segments_treat_their_channels_apart():
    layer = SeparableConv2d(6, 6, segments=3)
    x = torch.randn(1, 6, 5, 5)
    blocks = layer.depthwise.weight.split(2)
    maps = [F.conv2d(x[:, 2 * i : 2 * i + 2], blocks[i], padding=1) for i in range(3)]
    torch.testing.assert_close(layer(x), layer.pointwise(torch.cat(maps, 1)))


def test_as_many_segments_as_channels_is_the_depthwise_case():
    depthwise, segmented = SeparableConv2d(6, 4), SeparableConv2d(6, 4, segments=6)
    segmented.load_state_dict(depthwise.state_dict())
    x = torch.randn(2, 6, 7, 7)
    assert torch.equal(depthwise(x), segmented(x))


def test_one_segment_is_a_regular_convolution():
    layer = SeparableConv2d(4, 5, segments=1)
    assert layer.depthwise.weight.shape == (4, 4, 3, 3)
    # between them there is nothing, so that the two are one regular convolution
    fused = torch.einsum("om,mchw->ochw", layer.pointwise.weight[..., 0, 0], layer.depthwise.weight)
    x = torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(layer(x), F.conv2d(x, fused, padding=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["relu", "elu"])
def test_intermediate_activation_stands_between(name):
    layer = SeparableConv2d(3, 4, intermediate_activation=name)
    x = torch.randn(1, 3, 5, 5)
    expected = layer.pointwise(getattr(F, name)(layer.depthwise(x)))
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"segments": 4}, "segments=4 does not divide the widths 6 evenly.* are 3 and 6"),
        ({"segments": 0}, "segments=0 is not possible: give a whole number of at least 1"),
        ({"segments": "depth"}, "give a number or 'depthwise'"),
        ({"order": "first"}, "order='first' is not possible: choose one of 'depthwise-first'"),
        ({"intermediate_activation": "rleu"}, "did you mean 'relu'"),
        ({"kernel_size": 2}, "kernel_size=2 is not possible"),
        ({"stride": True}, "stride=True is not possible"),
        ({"dilation": 0}, "dilation=0 is not possible"),
    ],
)
def test_separable_convolution_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        SeparableConv2d(6, 6, **arguments)


def test_batch_norm_constants_of_the_profiles():
    keras, timm = batch_norm(4, "keras"), batch_norm(4, "timm")
    assert (keras.eps, keras.momentum) == (1e-3, 0.01)
    assert (timm.eps, timm.momentum) == (1e-5, 0.1)
