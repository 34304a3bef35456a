import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as pixels

from xception.data.color import distort_color
from xception.data.transforms import Augmentation, TrainingTransform
from xception.errors import InputError

PLAIN = {"brightness": 0.0, "saturation": None}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels_of(height: int, width: int, seed: int = 0) -> torch.Tensor:
    shape = (3, height, width)
    return torch.randint(0, 256, shape, generator=generator(seed)).to(torch.uint8)


@settings(max_examples=200, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 10**6))
def test_inception_crop_lies_in_the_image(height, width, seed):
    drawn = TrainingTransform().draw(generator(seed), height, width)
    assert 0 <= drawn.top < drawn.top + drawn.height <= height
    assert 0 <= drawn.left < drawn.left + drawn.width <= width


def test_inception_crop_keeps_area_and_aspect():
    transform = TrainingTransform(crop_area=(0.2, 0.5), crop_aspect=(0.8, 1.6))
    for seed in range(300):
        drawn = transform.draw(generator(seed), 400, 500)
        area = drawn.height * drawn.width / (400 * 500)
        aspect = drawn.width / drawn.height
        assert 0.2 * 0.98 <= area <= 0.5 * 1.02  # sides are whole pixels
        assert 0.8 * 0.98 <= aspect <= 1.6 * 1.02


def test_inception_crop_is_distributed_as_torchvisions():
    transform = TrainingTransform(crop_area=(0.08, 1.0))
    boxes = [transform.draw(generator(seed), 300, 400) for seed in range(2000)]
    ours = np.array([[b.top, b.left, b.height, b.width] for b in boxes], dtype=float)
    torch.manual_seed(0)
    image = torch.zeros(3, 300, 400)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(2000)],
        dtype=float,
    )
    # Means of 2,000 draws with standard deviations below 90: their difference has one of 2.8.
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 4 * 2.8
    quantiles = [0.1, 0.5, 0.9]
    difference = np.quantile(ours, quantiles, axis=0) - np.quantile(theirs, quantiles, axis=0)
    assert np.abs(difference).max() < 20


def test_inception_crop_of_a_strip_is_its_middle():
    drawn = TrainingTransform().draw(generator(0), 300, 3)
    assert (drawn.left, drawn.width) == (0, 3)
    assert drawn.height == 4  # 3 pixels at the narrowest aspect, 3/4
    assert drawn.top == 148


def test_apply_does_what_was_drawn():
    transform = TrainingTransform(size=10)
    image = pixels_of(40, 50)
    drawn = Augmentation(5, 7, 20, 30, True, (("saturation", 0.5),), None)
    crop = pixels.resize(image[:, 5:25, 7:37], [10, 10], antialias=True).flip(-1)
    expected = distort_color(crop, (("saturation", 0.5),))
    assert torch.equal(transform.apply([image], [drawn])[0], expected)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(2, 12),
    shift=st.integers(0, 5),
    seed=st.integers(0, 10**6),
    count=st.integers(1, 4),
)
def test_shift_moves_by_whole_pixels_over_black(size, shift, seed, count):
    transform = TrainingTransform(size=size, crop="shift", shift=shift, **PLAIN)
    images = [pixels_of(size, size, seed + i) for i in range(count)]
    drawn = [transform.draw(generator(seed + i), size, size) for i in range(count)]
    found = transform.apply(images, drawn)
    for image, augmentation, result in zip(images, drawn, found, strict=True):
        assert 0 <= augmentation.top <= 2 * shift
        expected = torch.zeros_like(image)
        for row in range(size):  # by hand, one pixel after the other
            for column in range(size):
                y = row + augmentation.top - shift
                mirrored = size - 1 - column if augmentation.flipped else column
                x = mirrored + augmentation.left - shift
                if 0 <= y < size and 0 <= x < size:
                    expected[:, row, column] = image[:, y, x]
        assert torch.equal(result, expected)


def test_shift_reaches_both_ends():
    transform = TrainingTransform(size=8, crop="shift", shift=2, **PLAIN)
    tops = {transform.draw(generator(seed), 8, 8).top for seed in range(200)}
    assert tops == {0, 1, 2, 3, 4}


def test_cutout_blanks_a_square_that_may_reach_over_the_border():
    transform = TrainingTransform(size=6, crop="none", flip=False, cutout=3, **PLAIN)
    image = torch.full((3, 6, 6), 9, dtype=torch.uint8)
    middle = Augmentation(0, 0, 6, 6, False, (), (3, 2))
    corner = Augmentation(0, 0, 6, 6, False, (), (0, 5))
    found = transform.apply([image, image], [middle, corner])
    expected = torch.full((2, 3, 6, 6), 9, dtype=torch.uint8)
    expected[0, :, 2:5, 1:4] = 127
    expected[1, :, 0:2, 4:6] = 127
    assert torch.equal(found, expected)


def test_none_takes_the_whole_image_resized():
    transform = TrainingTransform(size=8, crop="none", flip=False, **PLAIN)
    image = pixels_of(16, 20)
    found = transform([image], [generator(0)])[0]
    assert torch.equal(found, pixels.resize(image, [8, 8], antialias=True))


def test_flip_mirrors_half_of_the_images():
    transform = TrainingTransform(size=4, crop="none", **PLAIN)
    flipped = sum(transform.draw(generator(seed), 4, 4).flipped for seed in range(1000))
    assert 400 < flipped < 600  # six standard deviations of 16
    never = TrainingTransform(size=4, crop="none", flip=False, **PLAIN)
    assert not any(never.draw(generator(seed), 4, 4).flipped for seed in range(50))


def test_colors_stay_within_their_bounds_and_come_in_any_order():
    transform = TrainingTransform(contrast=(0.7, 1.1), hue=0.1)
    orders = set()
    bounds = {
        "brightness": (-32 / 255, 32 / 255),
        "saturation": (0.5, 1.5),
        "contrast": (0.7, 1.1),
        "hue": (-0.1, 0.1),
    }
    seen: dict[str, list[float]] = {name: [] for name in bounds}
    for seed in range(400):
        colors = transform.draw(generator(seed), 9, 9).colors
        orders.add(tuple(name for name, _ in colors))
        for name, amount in colors:
            seen[name].append(amount)
    assert len(orders) == 24  # all the permutations of four
    for name, (low, high) in bounds.items():
        assert low <= min(seen[name]) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(seen[name]) <= high


def test_turning_one_augmentation_off_leaves_the_others():
    full = TrainingTransform(hue=0.1, cutout=4).draw(generator(5), 50, 60)
    less = TrainingTransform(saturation=None).draw(generator(5), 50, 60)
    assert (full.top, full.left, full.flipped) == (less.top, less.left, less.flipped)
    assert dict(full.colors)["brightness"] == dict(less.colors)["brightness"]


@pytest.mark.parametrize("crop", ["inception", "shift", "none"])
def test_transform_of_a_sample_does_not_depend_on_its_batch(crop):
    transform = TrainingTransform(size=16, crop=crop, contrast=(0.5, 1.5), hue=0.2, cutout=4)
    images = [pixels_of(16, 16, seed) for seed in range(5)]
    together = transform(images, [generator(seed) for seed in range(5)])
    for row, image in enumerate(images):
        assert torch.equal(transform([image], [generator(row)])[0], together[row])


@pytest.mark.parametrize("crop", ["inception", "none"])
def test_transform_does_not_depend_on_the_memory_layout(crop):
    transform = TrainingTransform(size=13, crop=crop)
    planes = pixels_of(33, 47)
    by_pixel = planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # as decoders give it
    ours, theirs = (transform([image], [generator(1)]) for image in (planes, by_pixel))
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride()


def test_transform_leaves_its_images_alone():
    image = pixels_of(16, 16)
    before = image.clone()
    for crop in ("inception", "shift", "none"):
        TrainingTransform(size=16, crop=crop, cutout=8)([image], [generator(0)])
    assert torch.equal(image, before)


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 1},
        {"crop": "centre"},
        {"crop_area": (0.5, 0.1)},
        {"crop_area": (0.5, 1.5)},
        {"crop_aspect": (0.0, 1.0)},
        {"saturation": (1.5, 0.5)},
        {"shift": -1},
        {"cutout": -1},
        {"brightness": 2.0},
        {"hue": 0.6},
    ],
)
def test_transform_refuses(arguments):
    with pytest.raises(InputError, match=next(iter(arguments)).split("_")[0]):
        TrainingTransform(**arguments)


def test_inception_crops_lie_anywhere_within_the_image_the_borders_too():
    augment = TrainingTransform(size=8, crop_area=(0.25, 0.25), crop_aspect=(1.0, 1.0))
    generators = (torch.Generator().manual_seed(seed) for seed in range(3000))
    drawn = [augment.draw(generator, 4, 4) for generator in generators]
    assert {(d.height, d.width) for d in drawn} == {(2, 2)}
    for places in ([d.top for d in drawn], [d.left for d in drawn]):
        counts = np.bincount(places, minlength=3)
        assert len(counts) == 3  # a square of 2x2 in one of 4x4 begins at 0, 1 or 2
        assert np.abs(counts - 1000).max() < 5 * 25.8  # binomial: sqrt(3000 * 1/3 * 2/3)
