"""From the bytes of an image file to RGB pixels, right for every kind of file that people have.

JPEG goes through torchcodec, bit-identical to PIL and faster; where torchcodec is absent, through
torchvision; everything else, and a machine with neither, through PIL.

- Grey becomes R = G = B, palettes and CMYK become RGB.
- Transparent pixels are composited onto white, as a viewer shows them. (Dropping the alpha channel
  would show whatever colour lies hidden under them.)
- 16-bit values are divided by 257 and rounded (PIL's own conversion of 16-bit grey clips at 255).
- The EXIF orientation is applied.
- Of an animation, the first frame is taken.
"""

import io
import re
import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from xception.errors import InputError

MAX_PIXELS = 178_956_970
"""Height x width past which an image counts as a decompression bomb: PIL's own limit, 512 MB."""


class UnreadableImageError(InputError):
    """A file from which no image can be read: the message is the reason, without the name."""


def decode_image(encoded: bytes, most_pixels: int | None = None) -> Tensor:
    """Decodes an image file.

    Args:
        encoded: The bytes of the file: JPEG, PNG, GIF, BMP, WebP, TIFF or whatever PIL knows.
            PostScript is refused: PIL would run Ghostscript on it.
        most_pixels: Height x width past which it is refused; ``MAX_PIXELS`` if None.

    Returns:
        (3, H, W) uint8, RGB.

    Raises:
        UnreadableImageError: No bytes, no image, truncated, or too many pixels.

    Example:
        >>> buffer = io.BytesIO()
        >>> Image.new("RGBA", (4, 2), (255, 0, 0, 0)).save(buffer, "PNG")  # invisible red
        >>> decode_image(buffer.getvalue())[:, 0, 0].tolist()
        [255, 255, 255]
    """
    if not encoded:
        raise UnreadableImageError("the file is empty (0 bytes)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL's remarks about odd metadata and large images
        try:
            image = Image.open(io.BytesIO(encoded))  # reads the header only
            _refuse_bomb(image.width * image.height, most_pixels or MAX_PIXELS)
            if image.format == "EPS":
                raise UnreadableImageError("it is PostScript, a program; convert it to an image")
            if image.format in ("JPEG", "MPO"):
                return _jpeg_decoder()(encoded)
            return from_pil(image)
        except UnreadableImageError:
            raise
        except Image.DecompressionBombError as error:
            size = re.search(r"\((\d+) pixels\)", str(error))
            count = f"{int(size[1]):,}" if size else "too many"
            raise UnreadableImageError(_bomb(count, most_pixels or MAX_PIXELS)) from None
        except UnidentifiedImageError:
            raise UnreadableImageError("it is not an image of a known format") from None
        except MemoryError:
            raise UnreadableImageError("it needs more memory than there is") from None
        # Decoders raise whatever a malformed file trips in them: struct.error, SyntaxError, …
        except Exception as error:
            raise UnreadableImageError(_reason(error)) from None


def read_image(path: str) -> Tensor:
    """Decodes the image file at a path; see ``decode_image``.

    Raises:
        UnreadableImageError: As ``decode_image``; also a folder, a missing or a forbidden file.
    """
    return decode_image(read_encoded(path))


def read_encoded(path: str) -> bytes:
    """The bytes of the file at a path.

    Raises:
        UnreadableImageError: A folder, a missing or a forbidden file.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs as much as a small image
            return file.read()
    except IsADirectoryError:
        raise UnreadableImageError("it is a folder") from None
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from None
    except ValueError as error:  # a null byte in the path, or half a character
        raise UnreadableImageError(f"no file can have that name ({error})") from None


def _refuse_bomb(pixels: int, limit: int) -> None:
    if pixels > limit:
        raise UnreadableImageError(_bomb(f"{pixels:,}", limit))


def _bomb(count: str, limit: int) -> str:
    return f"it has {count} pixels, more than the limit of {limit:,} (decompression bomb?)"


def _reason(error: Exception) -> str:
    """A decoder's message as one short clause."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"^\w+, \S+\.cpp:\d+, ", "", text)  # torchcodec's function, file and line
    if "truncated" in text.lower():
        return "the file is truncated"
    return f"it can't be decoded ({text[:160].rstrip('.')})"


@cache
def _jpeg_decoder() -> Callable[[bytes], Tensor]:
    """The fastest JPEG decoder on this machine."""
    try:
        torchcodec = import_module("torchcodec.decoders")
        return partial(torchcodec.decode_jpeg, mode="RGB")
    except (
        ImportError,
        AttributeError,
        OSError,
        RuntimeError,
    ):  # absent, or its libraries don't load
        pass
    try:
        from torchvision.io import ImageReadMode
        from torchvision.io import decode_jpeg as torchvision_jpeg

        torchvision_jpeg(torch.frombuffer(bytearray(_PROBE), dtype=torch.uint8))
        return lambda encoded: torchvision_jpeg(
            torch.frombuffer(bytearray(encoded), dtype=torch.uint8),
            mode=ImageReadMode.RGB,
            apply_exif_orientation=True,
        )
    except (ImportError, OSError, RuntimeError):
        return lambda encoded: from_pil(Image.open(io.BytesIO(encoded)))


def _one_pixel_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "JPEG")
    return buffer.getvalue()


_PROBE = _one_pixel_jpeg()


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation; 1 is upright."""


def _upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says; as it lies where its EXIF is damaged.

    PIL's own ``exif_transpose`` also writes the EXIF anew, and so fails at an image that is sound.
    """
    image.load()  # TIFF is turned by this already, and its orientation is gone
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # of damaged EXIF: SyntaxError, struct.error, …
        return image
    return image if turn is None else image.transpose(turn)


def from_pil(image: Image.Image) -> Tensor:
    """The RGB pixels of a PIL image, upright, on white: (3, H, W) uint8."""
    image = _upright(image)
    if image.mode.startswith("I"):  # 16-bit grey; "I" is how older PILs open it
        values = np.asarray(image).astype(np.float64)
        grey = np.rint(values.clip(0, 65535) / 257).astype(np.uint8)
        return torch.from_numpy(grey).expand(3, -1, -1).contiguous()
    if image.mode == "F":
        raise UnreadableImageError("its pixels are floating-point numbers; convert it to 8 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    array = np.array(image.convert("RGB"))  # a writable copy, (H, W, 3)
    return torch.from_numpy(array).permute(2, 0, 1)
