import io
import random
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from xception.data import crop_decoding
from xception.data.batches import TrainingBatches
from xception.data.crop_decoding import decode_augmented, decode_box
from xception.data.decoding import UnreadableImageError, decode_image
from xception.data.jpeg_header import read_jpeg_header
from xception.data.sources import ArraySource, FileSource, Subset, has_encoded
from xception.data.transforms import TrainingTransform
from xception.errors import InputError


def photo(height, width, channels=3, seed=0):
    """Smooth random pixels, as a photograph's are: a JPEG keeps most of them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 11, channels), dtype=np.uint8)
    layers = [Image.fromarray(coarse[..., c]).resize((width, height)) for c in range(channels)]
    return np.stack([np.asarray(layer) for layer in layers], axis=-1)


def jpeg(pixels, mode=None, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def turned(pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(pixels, exif=exif)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PLAIN = {
    "4:2:0": lambda p: jpeg(p, subsampling="4:2:0"),
    "4:2:2": lambda p: jpeg(p, subsampling="4:2:2"),
    "4:4:4": lambda p: jpeg(p, subsampling="4:4:4"),
    "rgb": lambda p: jpeg(p, keep_rgb=True),
    "grey": lambda p: jpeg(p[..., 0]),
    "progressive": lambda p: jpeg(p, progressive=True),
    "restarts": lambda p: jpeg(p, restart_marker_rows=1),
    "upright": lambda p: turned(p, 1),
    "comment": lambda p: jpeg(p, comment=b"\xff\xd9\xff\xda"),
}
UNUSUAL = {
    "cmyk": lambda p: jpeg(np.concatenate([p, p[..., :1]], -1), "CMYK"),
    "turned": lambda p: turned(p, 6),
    "png": png,
}


@pytest.mark.parametrize("kind", PLAIN)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
@example(data=None)
def test_decode_box_gives_the_pixels_of_the_whole_image(kind, data):
    height, width, box = 75, 53, (33, 20, 11, 30)
    if data is not None:
        height, width = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 70))
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        box = (top, left, data.draw(st.integers(1, height - top)), 1 + (width - left - 1) // 2)
    encoded = PLAIN[kind](photo(height, width))
    top, left, rows, columns = box
    found = decode_box(encoded, read_jpeg_header(encoded), box)
    # Bit for bit: the same library decodes the same blocks.
    expected = decode_image(encoded)[:, top : top + rows, left : left + columns]
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", PLAIN)
def test_decode_box_decodes_no_rows_far_below_the_crop(kind, monkeypatch):
    decoded = []
    whole = crop_decoding._decoder()
    monkeypatch.setattr(
        crop_decoding,
        "_decoder",
        lambda: lambda *a, **k: decoded.append(whole(*a, **k)) or decoded[-1],
    )
    encoded = PLAIN[kind](photo(200, 64))
    decode_box(encoded, read_jpeg_header(encoded), (10, 3, 40, 20))
    assert 58 <= decoded[0].shape[0] <= 64  # 50 rows, 8 for the chroma, whole rows of blocks


@pytest.mark.parametrize("decoding", ["exact", "fast"])
@pytest.mark.parametrize("crop", ["inception", "shift", "none"])
@pytest.mark.parametrize("kind", [*PLAIN, *UNUSUAL])
def test_decode_augmented_gives_what_the_whole_image_gives(kind, crop, decoding):
    encoded = {**PLAIN, **UNUSUAL}[kind](photo(61, 83))
    transform = TrainingTransform(size=48, crop=crop)  # no crop is twice as large
    for seed in range(5):
        image, drawn = decode_augmented(
            encoded, transform, torch.Generator().manual_seed(seed), decoding=decoding
        )
        found = transform.apply([image], [drawn])
        expected = transform([decode_image(encoded)], [torch.Generator().manual_seed(seed)])
        assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("scale", [2, 4])
def test_fast_decoding_shrinks_large_crops(kind, scale):
    encoded = PLAIN[kind](photo(304, 424))
    top, left, height, width = 21, 50, 270, 330
    box = (top, left, height, width)
    found = decode_box(encoded, read_jpeg_header(encoded), box, least=270 // scale)
    means = torch.nn.functional.avg_pool2d(decode_image(encoded).float(), scale)
    expected = means[
        :,
        round(top / scale) : round((top + height) / scale),
        round(left / scale) : round((left + width) / scale),
    ]
    # The cosine transform of fewer points is nearly the mean over squares of pixels. A crop that
    # is moved by one pixel differs by more than 4.
    assert (found.float() - expected).abs().mean() < 1.5


def test_fast_augmentation_uses_the_shrunk_crop():
    encoded = jpeg(photo(304, 424))
    transform = TrainingTransform(size=40, crop_area=(0.9, 1.0))
    image, drawn = decode_augmented(
        encoded, transform, torch.Generator().manual_seed(1), decoding="fast"
    )
    assert 40 <= min(image.shape[1:]) < 80
    assert (drawn.top, drawn.left, drawn.height, drawn.width) == (0, 0, *image.shape[1:])
    assert transform.apply([image], [drawn]).shape == (1, 3, 40, 40)


def test_fast_decoding_never_shrinks_below_the_input(monkeypatch):
    encoded = jpeg(photo(64, 64))
    header = read_jpeg_header(encoded)
    assert decode_box(encoded, header, (0, 0, 64, 64), least=32).shape == (3, 32, 32)
    assert decode_box(encoded, header, (0, 0, 63, 64), least=32).shape == (3, 63, 64)
    assert decode_box(encoded, header, (0, 0, 64, 64), least=33).shape == (3, 64, 64)


def outcome(decode):
    try:
        return decode()
    except UnreadableImageError as error:
        return str(error)


@pytest.mark.parametrize("damage", ["cut", "header", "code"])
def test_damaged_files_are_read_or_refused_as_by_the_whole_decoding(damage):
    choices = random.Random(0)
    whole = jpeg(photo(90, 70), quality=90)
    code = whole.index(b"\xff\xda") + 14
    transform = TrainingTransform(size=40)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        if damage == "cut":
            del damaged[choices.randrange(2, len(damaged)) :]
        else:
            limits = (2, code) if damage == "header" else (code, len(damaged))
            damaged[choices.randrange(*limits)] = choices.randrange(256)
        encoded = bytes(damaged)
        found = outcome(partial(decode_augmented, encoded, transform, torch.Generator()))
        expected = outcome(partial(decode_image, encoded))
        if not isinstance(expected, str):
            image, drawn = found
            result = transform.apply([image], [drawn])
            assert torch.equal(result, transform([expected], [torch.Generator()]))
        elif damage == "code" and "marker" in expected:
            continue  # a false marker stops the whole decoding; below the crop, nobody sees it
        else:
            refused += 1
            assert found == expected
    assert refused >= {"cut": 40, "header": 5, "code": 0}[damage]


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "empty"),
        (b"\xff\xd8", "truncated|decoded|known format"),
        (b"no image at all", "not an image"),
        (jpeg(photo(50, 50))[:-200], "truncated"),
    ],
)
def test_decode_augmented_names_what_is_wrong(encoded, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        decode_augmented(encoded, TrainingTransform(), torch.Generator())


def test_decode_augmented_works_without_simplejpeg(monkeypatch):
    encoded = jpeg(photo(61, 83))
    transform = TrainingTransform(size=20)
    image, drawn = decode_augmented(encoded, transform, torch.Generator())
    monkeypatch.setattr(crop_decoding, "_decoder", lambda: None)
    whole, drawn_from_whole = decode_augmented(encoded, transform, torch.Generator())
    assert whole.shape == (3, 61, 83)
    assert torch.equal(
        transform.apply([image], [drawn]), transform.apply([whole], [drawn_from_whole])
    )
    with pytest.raises(InputError, match="pip install simplejpeg"):
        TrainingBatches(
            FileSource("/d", ["a"], [0], ["x"]), transform, seed=0, attempts=1, decoding="fast"
        )


def test_training_batches_are_the_same_from_encoded_and_decoded_images(tmp_path):
    pixels = [photo(40 + 9 * i, 60 - 3 * i, seed=i) for i in range(8)]
    names = [f"{i}.jpg" for i in range(8)]
    for name, image in zip(names, pixels, strict=True):
        (tmp_path / name).write_bytes(jpeg(image))
    (tmp_path / "3.jpg").write_bytes(jpeg(pixels[3])[:-100])
    (tmp_path / "5.jpg").write_bytes(turned(pixels[5], 8))
    files = Subset(FileSource(tmp_path, names, list(range(8)), list("abcdefgh")), range(1, 8))
    assert has_encoded(files)

    class Decoded:
        class_names, labels = files.class_names, files.labels
        describe = files.describe

        def __len__(self):
            return len(files)

        def __getitem__(self, index):
            return files[index]

    assert not has_encoded(Decoded())
    transform = TrainingTransform(size=24)
    partly, wholly = (
        TrainingBatches(source, transform, seed=3, attempts=3)[(2, range(7))]
        for source in (files, Decoded())
    )
    assert torch.equal(partly.images, wholly.images)
    assert partly.labels.tolist() == wholly.labels.tolist()
    assert partly.indices.tolist() == wholly.indices.tolist()
    assert partly.skipped == wholly.skipped
    assert "truncated" in partly.skipped[0][1]


def test_sources_in_memory_have_nothing_encoded():
    arrays = ArraySource(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 0], ["x"])
    assert not has_encoded(arrays)
    assert not has_encoded(Subset(arrays, [1]))
    assert not has_encoded(Subset(Subset(arrays, [1]), [0]))


def test_an_unknown_decoding_is_refused():
    with pytest.raises(InputError, match="no decoding 'quick'; use 'exact' or 'fast'"):
        crop_decoding.require_decoding("quick")
