import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from xception.data import decoding
from xception.data.decoding import UnreadableImageError, decode_image, read_image


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def by_pil(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)


JPEGS = {
    "colour": lambda a: encoded(Image.fromarray(a[..., :3]), "JPEG"),
    "grey": lambda a: encoded(Image.fromarray(a[..., 0]), "JPEG"),
    "cmyk": lambda a: encoded(Image.fromarray(a, mode="CMYK"), "JPEG"),
    "progressive": lambda a: encoded(Image.fromarray(a[..., :3]), "JPEG", progressive=True),
    "unsubsampled": lambda a: encoded(Image.fromarray(a[..., :3]), "JPEG", subsampling=0),
    "rgb": lambda a: encoded(Image.fromarray(a[..., :3]), "JPEG", keep_rgb=True),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_decode_image_gives_pils_pixels_for_jpeg(noise, kind):
    data = JPEGS[kind](noise(21, 34, 4))
    # Both are libjpeg-turbo: not a single value differs.
    np.testing.assert_array_equal(decode_image(data).numpy(), by_pil(data))


@pytest.fixture(params=["torchvision", "pil"])
def without_torchcodec(request, monkeypatch):
    """A machine where torchcodec, and for "pil" torchvision's own decoder too, is missing."""
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    if request.param == "pil":
        monkeypatch.setitem(sys.modules, "torchvision.io", None)
    decoding._jpeg_decoder.cache_clear()
    yield
    decoding._jpeg_decoder.cache_clear()


@pytest.mark.parametrize("kind", ["colour", "grey"])
def test_decode_image_gives_the_same_pixels_without_torchcodec(noise, kind, without_torchcodec):
    data = JPEGS[kind](noise(21, 34, 4))
    np.testing.assert_array_equal(decode_image(data).numpy(), by_pil(data))


# What PIL's transpose makes of orientation k, from the EXIF standard: where row 0 and column 0 lie.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[::-1].transpose(1, 0, 2),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_decode_image_turns_as_exif_says(noise, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(noise(16, 24, 3)), form, exif=exif)
    stored = by_pil(data).transpose(1, 2, 0)
    upright = UPRIGHT[orientation](stored).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_image(data).numpy(), upright)


def test_decode_image_turns_without_torchcodec(noise, without_torchcodec):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(noise(16, 24, 3)), "JPEG", exif=exif)
    upright = UPRIGHT[6](by_pil(data).transpose(1, 2, 0)).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_image(data).numpy(), upright)


def test_decode_image_puts_transparent_pixels_on_white():
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 200, 40, 102]]], dtype=np.uint8)
    found = decode_image(encoded(Image.fromarray(pixels), "PNG"))
    # 102/255 = 0.4: 0.4 * 100 + 0.6 * 255 = 193, 0.4 * 200 + 153 = 233, 0.4 * 40 + 153 = 169
    assert found[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255], [193, 233, 169]]


def test_decode_image_puts_transparent_grey_on_white():
    pixels = np.array([[[50, 255], [50, 0]]], dtype=np.uint8)
    found = decode_image(encoded(Image.fromarray(pixels, mode="LA"), "PNG"))
    assert found[:, 0].T.tolist() == [[50, 50, 50], [255, 255, 255]]


def test_decode_image_looks_palettes_up():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 1, 2, 3])
    image.putdata([2, 0, 1])
    plain = decode_image(encoded(image, "PNG"))
    assert plain[:, 0].T.tolist() == [[1, 2, 3], [255, 0, 0], [0, 255, 0]]
    see_through = decode_image(encoded(image, "PNG", transparency=0))
    assert see_through[:, 0].T.tolist() == [[1, 2, 3], [255, 255, 255], [0, 255, 0]]


def test_decode_image_scales_16_bit_grey():
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    found = decode_image(encoded(Image.fromarray(values), "PNG"))
    # divided by 257 and rounded: 0.498 -> 0, 0.502 -> 1, 1, 127.502 -> 128, 255
    assert found[:, 0].tolist() == [[0, 0, 1, 1, 128, 255]] * 3


def test_decode_image_scales_16_bit_colour():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)  # 2x1, 16 bits, RGB
    row = b"\0" + struct.pack(">6H", 0, 257, 65535, 128 * 257, 7 * 257, 255 * 257)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row))
    found = decode_image(png + chunk(b"IEND", b""))
    assert found[:, 0].T.tolist() == [[0, 1, 255], [128, 7, 255]]


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP", "TIFF", "GIF"])
def test_decode_image_reads_other_formats_as_pil(noise, form):
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(Image.fromarray(noise(11, 7, 3)), form, **options)
    np.testing.assert_array_equal(decode_image(data).numpy(), by_pil(data))


def test_decode_image_reads_one_bit_and_cmyk_tiff(noise):
    one_bit = encoded(Image.fromarray(noise(8, 9)).convert("1"), "TIFF")
    assert set(decode_image(one_bit).unique().tolist()) == {0, 255}
    cmyk = encoded(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF")  # no cyan: red
    assert decode_image(cmyk)[:, 0, 0].tolist() == [255, 0, 0]


def test_decode_image_takes_the_first_frame(noise):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(data)[:, 0, 0].tolist() == [255, 0, 0]


def claimed_size(width: int, height: int) -> bytes:
    """A JPEG whose header claims a size: 16x16 pixels of it are there."""
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def broken(kind: str) -> bytes:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    jpeg, png = encoded(photo, "JPEG"), encoded(photo, "PNG")
    return {
        "empty": lambda: b"",
        "text": lambda: b"this is no image" * 20,
        "half a JPEG": lambda: jpeg[: len(jpeg) // 2],
        "head of a JPEG": lambda: jpeg[:30],
        "half a PNG": lambda: png[: len(png) // 2],
        "bomb JPEG": lambda: claimed_size(65_500, 65_500),
        "bomb PNG": lambda: encoded(Image.new("1", (20_000, 20_000)), "PNG"),
        "PostScript": lambda: encoded(photo, "EPS"),
        "float": lambda: encoded(Image.new("F", (3, 3)), "TIFF"),
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "empty (0 bytes)"),
        ("text", "not an image"),
        ("half a JPEG", "truncated"),
        ("head of a JPEG", ""),
        ("half a PNG", "truncated"),
        ("bomb JPEG", "4,290,250,000 pixels"),
        ("bomb PNG", "400,000,000 pixels"),
        ("PostScript", "PostScript"),  # whether there is a Ghostscript or not
        ("float", "floating-point"),
    ],
)
def test_decode_image_names_the_reason(kind, reason):
    with pytest.raises(UnreadableImageError) as error:
        decode_image(broken(kind))
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert ".cpp" not in str(error.value)


def test_decode_image_refuses_from_one_pixel_past_the_limit(monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 80 * 50)
    assert decode_image(encoded(Image.new("RGB", (80, 50)), "JPEG")).shape == (3, 50, 80)
    for form in ("JPEG", "PNG"):
        with pytest.raises(UnreadableImageError, match=r"4,050 pixels, more than .* 4,000"):
            decode_image(encoded(Image.new("RGB", (81, 50)), form))


def test_read_image_names_the_reason(tmp_path, save_image):
    for name in ("a\0b.jpg", "\ud800.jpg"):
        with pytest.raises(UnreadableImageError, match="no file can have that name"):
            read_image(str(tmp_path / name))
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(UnreadableImageError, match="is a folder"):
        read_image(str(tmp_path / "x.jpg"))
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_image(str(tmp_path / "absent.jpg"))
    assert read_image(str(save_image(tmp_path / "a.png"))).shape == (3, 9, 12)


DAMAGED_EXIF = {
    "no exif": b"Exif\0\0garbage",
    "a cut entry": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0",
    "an offset behind the end": b"Exif\0\0II*\0\xff\xff\xff\xff",
}


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("kind", DAMAGED_EXIF)
def test_decode_image_passes_over_damaged_exif(noise, form, kind):
    options = {"lossless": True} if form == "WEBP" else {}
    image = Image.fromarray(noise(16, 24, 3))
    data = encoded(image, form, exif=DAMAGED_EXIF[kind], **options)
    plain = encoded(image, form, **options)
    np.testing.assert_array_equal(decode_image(data).numpy(), by_pil(plain))


def test_decode_image_turns_where_exif_is_damaged_elsewhere(noise):
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = bytearray(exif.tobytes())
    number = whole.index(b"\x01\x12")
    whole[number - 1] = 2  # announces a second entry, of which there is nothing but zeros
    data = encoded(Image.fromarray(noise(16, 24, 3)), "PNG", exif=bytes(whole))
    upright = UPRIGHT[6](by_pil(data).transpose(1, 2, 0)).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_image(data).numpy(), upright)
