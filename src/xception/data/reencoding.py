"""Images encoded anew for packing: smaller files, other pixels."""

import io

from PIL import Image
from torchvision.transforms.v2 import functional as pixels

from xception.data.decoding import decode_image
from xception.data.manifest import Reencoding


def reencode(encoded: bytes, how: Reencoding) -> bytes:
    """A JPEG whose short side is at most ``how.short_side``; smaller images are kept as they are.

    Shrinking averages over the pixels that it removes; orientation and colours are settled.

    Raises:
        UnreadableImageError: The image can't be decoded.
    """
    image = decode_image(encoded)
    if min(image.shape[1:]) <= how.short_side:
        return encoded
    small = pixels.resize(image, [how.short_side], antialias=True)
    stream = io.BytesIO()
    Image.fromarray(small.permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=how.quality)
    return stream.getvalue()
