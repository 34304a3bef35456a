"""Decodes no more of a JPEG than a training crop needs.

The crop is drawn first, from the size in the file's header. Then decoding stops below the crop's
last row: the height in the header is lowered, so that the decoder takes the rows above for the
whole image. What it has decoded is, bit for bit, what decoding the whole file gives (a test says
so). Nothing is gained above the crop or beside it: a JPEG's code can't be entered in its middle.

With ``"fast"``, a crop of at least twice the network's input size is decoded at 1/2 or 1/4 of
its size, by inverse cosine transforms of fewer points. This changes pixels: `docs/speed.md` says by
how much.

simplejpeg (libjpeg-turbo) does the work. Whatever is not a plain JPEG is decoded as a whole.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from xception.data.decoding import decode_image
from xception.data.jpeg_header import JpegHeader, read_jpeg_header
from xception.data.transforms import Augmentation, TrainingTransform
from xception.errors import InputError

Decoding = Literal["exact", "fast"]
_SCALES = (4, 2)  # at 1/8, colours of 4:2:2 files blur
_MARGIN = 8  # pixel rows below the crop: the chroma of the last row is interpolated with the next


def require_decoding(decoding: str) -> None:
    """Checks a way of decoding.

    Raises:
        InputError: There is none of this name, or what it needs is not installed.
    """
    if decoding not in ("exact", "fast"):
        raise InputError(f"there is no decoding '{decoding}'; use 'exact' or 'fast'")
    if decoding == "fast" and _decoder() is None:
        raise InputError(
            "the decoding 'fast' needs simplejpeg: pip install simplejpeg, or use 'exact'"
        )


def decode_augmented(
    encoded: bytes,
    transform: TrainingTransform,
    generator: torch.Generator,
    *,
    decoding: Decoding = "exact",
) -> tuple[Tensor, Augmentation]:
    """Draws a sample's augmentation and decodes what it needs of the image.

    Args:
        encoded: The bytes of the image file.
        transform: Draws, and is then to be applied to the result.
        generator: The sample's own, freshly seeded.
        decoding: ``"exact"``, or ``"fast"`` to decode large crops at a fraction of their size.

    Returns:
        Pixels, (3, h, w) uint8, and the augmentation in their coordinates: ``transform.apply``
        gives what it would give for the whole image (with ``"fast"``, nearly).

    Raises:
        UnreadableImageError: As ``decode_image``.
    """
    header = read_jpeg_header(encoded) if _decoder() is not None else None
    if header is None:
        image = decode_image(encoded)
        return image, transform.draw(generator, *image.shape[-2:])
    drawn = transform.draw(generator, header.height, header.width)
    cut = transform.crop == "inception"
    box = (drawn.top, drawn.left, drawn.height, drawn.width) if cut else (0, 0, *header[:2])
    image = decode_box(encoded, header, box, least=transform.size if decoding == "fast" else None)
    if cut:
        drawn = replace(drawn, top=0, left=0, height=image.shape[1], width=image.shape[2])
    return image, drawn


def decode_box(
    encoded: bytes, header: JpegHeader, box: tuple[int, int, int, int], *, least: int | None = None
) -> Tensor:
    """The pixels of a rectangle of a plain JPEG.

    Args:
        encoded: The bytes of the file.
        header: Its header.
        box: Top, left, height, width.
        least: If given, a rectangle both sides of which are at least twice as long may come
            shrunk, to sides not shorter than this. Its borders are then rounded to the pixels of
            the shrunk image, by at most half of such a pixel.

    Returns:
        (3, height, width) uint8, or shrunk.

    Raises:
        UnreadableImageError: As ``decode_image``.
    """
    top, left, height, width = box
    shorter = min(height, width)
    scale = next((s for s in _SCALES if least and shorter >= s * least), 1)
    decode = _decoder()
    assert decode is not None
    shortened, rows = _cut_below(encoded, header, top + height + _MARGIN * scale)
    # The decoder takes the smallest size that is not below this one.
    shape = (-(-rows // scale), -(-header.width // scale))
    shrunk = {"min_height": shape[0], "min_width": shape[1]} if scale > 1 else {}
    try:
        # Damage in the code is passed over, as everywhere; damage that can't be passed over is
        # left to the whole decoding to name.
        pixels = decode(shortened, strict=False, **shrunk)
    except (ValueError, RuntimeError, MemoryError):
        return decode_image(encoded)[:, top : top + height, left : left + width]
    assert pixels.shape[:2] == shape
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    first, last = round(top / scale), round((top + height) / scale)
    return image[:, first:last, round(left / scale) : round((left + width) / scale)]


def _cut_below(encoded: bytes, header: JpegHeader, bottom: int) -> tuple[bytes, int]:
    """The same file with fewer rows, whole rows of blocks down to ``bottom``; and how many."""
    rows = -(-bottom // header.row_height) * header.row_height
    if rows >= header.height:
        return encoded, header.height
    at = header.height_at
    return encoded[:at] + rows.to_bytes(2, "big") + encoded[at + 2 :], rows


@cache
def _decoder() -> Callable[..., Any] | None:
    """The decoder of simplejpeg, where it is installed."""
    try:
        from simplejpeg import decode_jpeg
    except (ImportError, OSError):
        return None
    return decode_jpeg
