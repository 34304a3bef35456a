import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import v2

from xception.data.preprocessing import Preprocessing
from xception.errors import InputError


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A smooth random picture: filters agree on it as they do on photographs."""
    small = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * 255
    large = torch.nn.functional.interpolate(small, (height, width), mode="bicubic")
    return large[0].clamp(0, 255).round().to(torch.uint8)


def as_pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    size=st.integers(2, 40),
    mode=st.sampled_from(["central-crop", "resize-crop"]),
    crop_fraction=st.floats(0.05, 1),
)
def test_preprocessing_gives_the_size_whatever_the_image(height, width, size, mode, crop_fraction):
    prepare = Preprocessing(size=size, mode=mode, crop_fraction=crop_fraction)
    image = torch.full((3, height, width), 77, dtype=torch.uint8)
    found = prepare(image)
    assert found.shape == (3, size, size)
    assert found.dtype == torch.uint8
    assert (found == 77).all()  # nothing is padded


def test_preprocessing_resize_crop_matches_timm():
    image = picture(375, 500)
    prepare = Preprocessing(
        size=299, mode="resize-crop", crop_fraction=0.897, interpolation="bicubic"
    )
    timms = create_transform(
        (3, 299, 299), interpolation="bicubic", crop_pct=0.897, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    ours = prepare.normalize(prepare(image)[None])[0]
    levels = (ours - timms(as_pil(image))).abs() * 127.5
    # timm resizes with PIL, which rounds after each of two passes: up to two of 255 levels apart.
    assert levels.max() <= 2.01
    assert levels.mean() <= 0.25


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(19, 27), (27, 19), (23, 31), (41, 26), (20, 20)])
def test_preprocessing_resize_crop_is_torchvisions_bit_for_bit(height, width, filter):
    """Among the sizes are long sides that end up a fraction above a whole number, and odd rests."""
    image = picture(height, width)
    prepare = Preprocessing(size=16, mode="resize-crop", crop_fraction=0.8, interpolation=filter)
    theirs = v2.Compose([v2.Resize(20, v2.InterpolationMode(filter)), v2.CenterCrop(16)])
    assert prepare(image).equal(theirs(image))


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (100, 100)])
def test_preprocessing_central_crop_matches_pil(height, width):
    image = picture(height, width)
    top, left = int(height * 0.125 / 2), int(width * 0.125 / 2)
    cut = as_pil(image).crop((left, top, width - left, height - top))
    expected = np.asarray(cut.resize((299, 299), Image.Resampling.BILINEAR)).astype(int)
    found = Preprocessing()(image).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - expected).max() <= 1  # rounding


def test_preprocessing_central_crop_by_hand():
    rows = torch.arange(16, dtype=torch.uint8)
    image = rows[None, :, None].expand(3, 16, 16).contiguous()
    # (16 - 16 * 0.875) / 2 = 1: rows 1 to 14, which are 14, so that nothing is resized
    found = Preprocessing(size=14)(image)
    assert found[0, :, 0].tolist() == list(range(1, 15))


def test_preprocessing_antialias_averages_what_it_removes():
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(32).expand(3, 64, 64).contiguous()
    smooth = Preprocessing(size=8, crop_fraction=1.0)(stripes)
    jagged = Preprocessing(size=8, crop_fraction=1.0, antialias=False)(stripes)
    assert (smooth.float() - 127.5).abs().max() < 8
    # Without it, only the two middle pixels of eight count; they are one black, one white.
    assert (jagged.float() - 127.5).abs().max() <= 0.5


def test_preprocessing_strip_stays_small():
    strip = torch.zeros(3, 1, 200_000, dtype=torch.uint8)
    strip[..., 100_000 - 4 : 100_000 + 4] = 255
    found = Preprocessing(size=299, mode="resize-crop")(strip)
    assert (found == 255).all()  # the middle, and 341 x 68,200,000 pixels were never made


def test_normalize_scales_to_minus_one_and_one_exactly():
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    found = Preprocessing().normalize(values).double()
    # x / 127.5 - 1, rounded once to float32: half a unit in the last place of 1 is 6e-8
    assert (found - (values.double() / 127.5 - 1)).abs().max() <= 6e-8
    assert found.min() == -1
    assert found.max() == 1


def test_normalize_computes_where_the_images_are():
    on_device = torch.empty(2, 3, 4, 5, dtype=torch.uint8, device="meta")
    found = Preprocessing().normalize(on_device)
    assert found.device.type == "meta"
    assert found.dtype == torch.float32


def test_normalize_gives_one_layout_whatever_the_batchs():
    planes = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    by_pixel = planes.contiguous(memory_format=torch.channels_last)
    found = Preprocessing().normalize(by_pixel)
    assert found.is_contiguous()
    assert torch.equal(found, Preprocessing().normalize(planes))


def test_normalize_uses_each_channels_mean_and_std():
    prepare = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    found = prepare.normalize(torch.full((1, 3, 1, 1), 200, dtype=torch.uint8)).flatten()
    for value, mean, std in zip(found, prepare.mean, prepare.std, strict=True):
        assert math.isclose(value, (200 / 255 - mean) / std, rel_tol=1e-5)


def test_preprocessing_survives_json():
    prepare = Preprocessing(size=71, mode="resize-crop", std=(0.1, 0.2, 0.3), antialias=False)
    stored = json.loads(json.dumps(prepare.to_dict()))
    assert Preprocessing.from_dict(stored) == prepare


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"size": 1}, "at least 2"),
        ({"crop_fraction": 1.5}, "crop_fraction is 1.5"),
        ({"crop_fraction": 0.0}, "crop_fraction is 0.0"),
        ({"mode": "squeeze"}, "'squeeze'"),
        ({"interpolation": "cubic"}, "'cubic'"),
        ({"std": [0.5, 0.5, 0.0]}, "std above 0"),
        ({"mean": [123.7, 116.3, 103.5]}, "divide numbers for pixels from 0 to 255 by 255"),
        ({"mean": [0.5, 0.5]}, "three numbers"),
        ({"std": [0.5, 0.5, float("nan")]}, "three numbers"),
        ({"mean": [0.5, 0.5, "x"]}, "a value of a wrong type"),
        ({"size": "299"}, "a value of a wrong type"),
        ({"sizes": 3}, "did you mean 'size'"),
    ],
)
def test_preprocessing_refuses(fields, told):
    with pytest.raises(InputError, match=told):
        Preprocessing.from_dict(fields)
