"""What the first bytes of a JPEG tell: its size, its rows of blocks, whether it lies upright.

Only what is needed to decode less than the whole of it. A file that is unusual in any way has no
`JpegHeader`, and is decoded as a whole (`xception.data.decoding`), which knows what to do about it.
Markers as in ITU-T T.81, table B.1.
"""

import struct
from typing import NamedTuple

from PIL import Image

from xception.data.decoding import MAX_PIXELS

_START, _END_OF_IMAGE, _START_OF_SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended, progressive; Huffman-coded
_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}  # lossless, arithmetic, …
_EXIF, _EXIF_NAME, _ORIENTATION = 0xE1, b"Exif\0\0", 0x0112


class JpegHeader(NamedTuple):
    """A plain JPEG: 8 bits, grey or three colours, upright, complete to its end marker.

    Attributes:
        height: In pixels.
        width: In pixels.
        row_height: Pixel rows that are decoded together: 8 to 32.
        height_at: Where in the file the height stands, two bytes, the higher one first.
    """

    height: int
    width: int
    row_height: int
    height_at: int


def read_jpeg_header(encoded: bytes) -> JpegHeader | None:
    """The header of a plain JPEG, or None for everything else.

    Args:
        encoded: The bytes of the file.

    Example:
        >>> read_jpeg_header(b"GIF89a") is None
        True
    """
    try:
        return _read(encoded)
    except (IndexError, struct.error):  # it ends within the header
        return None


def _read(encoded: bytes) -> JpegHeader | None:
    if encoded[:2] != _START:
        return None
    header = None
    turned = 0
    place = 2
    while True:
        if encoded[place] != 0xFF:
            return None
        while encoded[place + 1] == 0xFF:  # markers may be padded
            place += 1
        marker = encoded[place + 1]
        (length,) = struct.unpack_from(">H", encoded, place + 2)
        if marker == _START_OF_SCAN:
            break
        if marker in _FRAMES:
            if header is not None:
                return None
            header = _frame(encoded, place + 4)
        elif marker in _OTHER_FRAMES:
            return None
        elif marker == _EXIF and encoded[place + 4 : place + 10] == _EXIF_NAME:
            turned += not _is_upright(encoded[place + 4 : place + 2 + length])
        place += 2 + length
    complete = encoded.rfind(_END_OF_IMAGE, place) >= 0
    return header if complete and not turned else None


def _frame(encoded: bytes, place: int) -> JpegHeader | None:
    """What a frame's segment says, from its precision on."""
    bits, height, width, components = struct.unpack_from(">BHHB", encoded, place)
    if bits != 8 or components not in (1, 3) or not 0 < height * width <= MAX_PIXELS:
        return None
    rows = max(encoded[place + 7 + 3 * number] & 15 for number in range(components))
    return JpegHeader(height, width, 8 * rows, place + 1)


def _is_upright(segment: bytes) -> bool:
    exif = Image.Exif()
    try:
        exif.load(segment)
        return exif.get(_ORIENTATION, 1) == 1
    except Exception:  # damaged in whatever way: the whole decoding decides
        return False
