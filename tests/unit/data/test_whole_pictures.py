"""The evaluation modes that keep the whole picture, against arithmetic on every pixel."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xception.data.preprocessing import Preprocessing

ROUNDING = 1.01
"""Levels of 255: rows, then columns are rounded to 8 bits, half a level each; 16-bit weights."""


def squashed_by_hand(image: np.ndarray, size: int) -> np.ndarray:
    """TensorFlow's ``image.resize`` without antialias, half-pixel centres, one pixel at a time.

    Args:
        image: (H, W) of any numbers.
        size: Height and width of the result.
    """
    height, width = image.shape
    result = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            y = max((row + 0.5) * height / size - 0.5, 0)
            x = max((column + 0.5) * width / size - 0.5, 0)
            top, left = min(math.floor(y), height - 1), min(math.floor(x), width - 1)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            dy, dx = y - top, x - left
            upper = image[top, left] * (1 - dx) + image[top, right] * dx
            lower = image[below, left] * (1 - dx) + image[below, right] * dx
            result[row, column] = upper * (1 - dy) + lower * dy
    return result


@pytest.mark.parametrize(("height", "width", "size"), [(23, 40, 16), (9, 5, 16), (16, 31, 7)])
def test_squash_is_keras_resizing_of_the_whole_picture(height, width, size):
    pixels = np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8)
    prepare = Preprocessing(size=size, mode="squash", antialias=False)
    found = prepare(torch.from_numpy(pixels)).numpy()
    expected = np.stack([squashed_by_hand(plane.astype(float), size) for plane in pixels])
    assert np.abs(found - expected).max() <= ROUNDING


def test_squash_is_the_resizing_of_keras_itself():
    keras = pytest.importorskip("keras")
    pixels = np.random.default_rng(1).integers(0, 256, (37, 61, 3), dtype=np.uint8)
    theirs = keras.ops.convert_to_numpy(
        keras.ops.image.resize(pixels.astype("float32"), (24, 24), interpolation="bilinear")
    )
    prepare = Preprocessing(size=24, mode="squash", antialias=False)
    found = prepare(torch.from_numpy(pixels).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    assert np.abs(found - theirs).max() <= ROUNDING


def test_squash_keeps_what_the_crops_cut_off():
    """A picture whose outermost row alone is white."""
    image = torch.zeros(3, 32, 64, dtype=torch.uint8)
    image[:, 0] = 255
    whole = Preprocessing(size=16, mode="squash")(image)
    assert whole[:, 0].float().mean() > 100
    for mode in ("central-crop", "resize-crop"):
        assert Preprocessing(size=16, mode=mode)(image).max() == 0


def test_pad_keeps_the_aspect_and_puts_black_beside_it():
    # 10 x 40 at size 20: 5 x 20, with (20 - 5) // 2 = 7 black rows above and 8 below
    image = torch.full((3, 10, 40), 200, dtype=torch.uint8)
    found = Preprocessing(size=20, mode="pad")(image)
    assert (found[:, 7:12] == 200).all()
    assert (found[:, :7] == 0).all()
    assert (found[:, 12:] == 0).all()
    upright = Preprocessing(size=20, mode="pad")(image.transpose(1, 2))
    assert torch.equal(upright, found.transpose(1, 2))


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), size=st.integers(2, 40))
def test_pad_fits_the_long_side_of_any_picture(height, width, size):
    image = torch.full((3, height, width), 77, dtype=torch.uint8)
    found = Preprocessing(size=size, mode="pad")(image)
    assert found.shape == (3, size, size)
    long, short = size, max(1, round(min(height, width) * size / max(height, width)))
    assert int((found[0] == 77).sum()) == long * short
    assert int((found[0] == 0).sum()) == size * size - long * short


def test_whole_pictures_of_a_strip_stay_small():
    strip = torch.full((3, 1, 200_000), 9, dtype=torch.uint8)
    assert (Preprocessing(size=8, mode="squash")(strip) == 9).all()
    assert int((Preprocessing(size=8, mode="pad")(strip)[0] == 9).sum()) == 8
