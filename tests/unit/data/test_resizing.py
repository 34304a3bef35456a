import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as pixels

from xception.data import resizing
from xception.data.resizing import INTERPOLATION, resize
from xception.data.transforms import TrainingTransform

LENGTH = st.integers(1, 40)


def cut_out(height, width, *, by_pixel, seed=0):
    """Pixels that lie inside a larger image, in one of the two memory layouts."""
    generator = torch.Generator().manual_seed(seed)
    shape = (height + 5, width + 7, 3) if by_pixel else (3, height + 5, width + 7)
    whole = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    image = whole.permute(2, 0, 1) if by_pixel else whole
    return image[:, 2 : 2 + height, 3 : 3 + width]


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("interpolation", INTERPOLATION)
@pytest.mark.parametrize("vector_code", [True, False])
@settings(max_examples=40, deadline=None)
@given(height=LENGTH, width=LENGTH, rows=LENGTH, columns=LENGTH, by_pixel=st.booleans())
@example(height=1, width=1, rows=9, columns=2, by_pixel=True)
@example(height=40, width=1, rows=3, columns=3, by_pixel=True)
def test_resize_is_torchvisions_bit_for_bit(
    vector_code, interpolation, antialias, height, width, rows, columns, by_pixel
):
    if vector_code and not resizing._has_vector_code():
        pytest.skip("the processor has no AVX2")
    if rows == columns == 1:
        rows = 2  # to 1x1, PyTorch's resizing of bytes fails, torchvision's too
    image = cut_out(height, width, by_pixel=by_pixel)
    before = image.clone()
    mode = INTERPOLATION[interpolation]
    expected = pixels.resize(image, [rows, columns], interpolation=mode, antialias=antialias)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resizing, "_has_vector_code", lambda: vector_code)
        for planes in (False, True):
            found = resize(
                image, rows, columns, interpolation=interpolation, antialias=antialias,
                planes=planes,
            )  # fmt: skip
            # Bit for bit: the same operator of PyTorch, whatever the layout of its result.
            assert torch.equal(found, expected)
    assert torch.equal(image, before)


@pytest.mark.skipif(not resizing._has_vector_code(), reason="the processor has no AVX2")
def test_resize_leaves_pixels_together_unless_planes_are_wanted():
    image = cut_out(30, 20, by_pixel=True)
    assert resize(image, 9, 8, antialias=True).stride() == (1, 24, 3)
    assert resize(image, 9, 8, antialias=True, planes=True).stride() == (72, 8, 1)


def test_resize_returns_an_image_of_that_size_itself():
    image = cut_out(6, 5, by_pixel=True)
    assert resize(image, 6, 5, antialias=True).data_ptr() == image.data_ptr()


@pytest.mark.parametrize("change", [{}, {"saturation": (0.5, 1.5)}, {"hue": 0.1}])
def test_a_batch_is_laid_out_as_it_costs_least_whatever_its_images(change):
    transform = TrainingTransform(size=8, **({"brightness": 0.0, "saturation": None} | change))
    images = [cut_out(20, 30, by_pixel=kind) for kind in (True, False)]
    drawn = [transform.draw(torch.Generator().manual_seed(3), 20, 30)] * 2
    batch = transform.apply(images, drawn)
    assert batch.is_contiguous(memory_format=transform.layout)
    assert batch.is_contiguous() is bool(change)
    into = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert transform.apply(images, drawn, out=into) is into
    assert torch.equal(into, batch)
