import colorsys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as pixels

from xception.data.color import distort_color

LEVEL = st.integers(0, 255)


def colour(*levels: int) -> torch.Tensor:
    return torch.tensor(levels, dtype=torch.uint8).view(3, 1, 1)


@settings(max_examples=200, deadline=None)
@given(red=LEVEL, green=LEVEL, blue=LEVEL, factor=st.floats(0, 2))
def test_saturation_scales_hsv_as_colorsys(red, green, blue, factor):
    hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    expected = colorsys.hsv_to_rgb(hue, min(saturation * factor, 1), value)
    found = distort_color(colour(red, green, blue), [("saturation", factor)])
    for ours, theirs in zip(found.flatten().tolist(), expected, strict=True):
        assert abs(ours - 255 * theirs) <= 0.501  # rounded to a whole level


@pytest.mark.parametrize(("share", "expected"), [(0.1, [26, 126, 255]), (-0.1, [0, 74, 214])])
def test_brightness_adds_a_share_of_the_range(share, expected):
    # 255 * 0.1 = 25.5: 0 + 25.5 rounds to the even 26, 100 + 25.5 to 126, 240 is clipped
    found = distort_color(colour(0, 100, 240), [("brightness", share)])
    assert found.flatten().tolist() == expected


def test_contrast_moves_channels_from_their_own_mean():
    image = torch.tensor([[[0, 100]], [[50, 50]], [[200, 240]]], dtype=torch.uint8)
    found = distort_color(image, [("contrast", 1.5)])
    # means 50, 50, 220: 50 ± 75 clipped at 0, 50, 220 ± 30
    assert found.tolist() == [[[0, 125]], [[50, 50]], [[190, 250]]]


def test_hue_turns_as_torchvision():
    image = torch.randint(0, 256, (3, 9, 7), generator=torch.Generator().manual_seed(0))
    image = image.to(torch.uint8)
    expected = pixels.adjust_hue(image.float() / 255, 0.2).mul(255).round()
    assert torch.equal(distort_color(image, [("hue", 0.2)]).float(), expected)
    # A third of a turn makes red green.
    assert distort_color(colour(255, 0, 0), [("hue", 1 / 3)]).flatten().tolist() == [0, 255, 0]


def test_distort_color_keeps_the_order():
    brighter_first = distort_color(colour(100, 50, 50), [("brightness", 0.2), ("saturation", 0.0)])
    greyer_first = distort_color(colour(100, 50, 50), [("saturation", 0.5), ("brightness", 0.2)])
    assert brighter_first.flatten().tolist() == [151, 151, 151]
    assert greyer_first.flatten().tolist() == [151, 126, 126]


def test_distort_color_without_operations_changes_nothing():
    image = torch.arange(48, dtype=torch.uint8).view(3, 4, 4)
    assert torch.equal(distort_color(image, []), image)
