"""A picture of some of a packing's images, each with its labels."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torchvision.transforms.v2 import functional as pixels

from xception.data.decoding import UnreadableImageError, decode_image
from xception.data.manifest import Manifest
from xception.data.shards import ShardRecords
from xception.errors import InputError
from xception.weights.atomic import replacing

_CAPTION = 14  # pixels below each image
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def draw_contact_sheet(
    folder: Path, manifest: Manifest, path: Path, *, images: int, side: int
) -> None:
    """Draws images at even distances, in rows; one that can't be read stays grey.

    Args:
        folder: Where the shards lie.
        manifest: What they are.
        path: The picture, .png or .jpg.
        images: How many.
        side: Of each, in pixels.

    Raises:
        InputError: Another ending.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path} must end in .png or .jpg")
    records = ShardRecords(folder, manifest)
    count = max(1, min(images, len(records)))
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = Image.new("RGB", (columns * side, rows * (side + _CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, index in enumerate(np.linspace(0, len(records) - 1, count).round().astype(int)):
        left, top = place % columns * side, place // columns * (side + _CAPTION)
        draw.rectangle((left, top, left + side - 2, top + side - 2), fill="lightgrey")
        try:
            record = records[int(index)]
            image = decode_image(record.image)
        except UnreadableImageError:
            continue
        scale = (side - 2) / max(image.shape[1:])
        size = [max(1, round(length * scale)) for length in image.shape[1:]]
        small = pixels.resize(image, size, antialias=True).permute(1, 2, 0).numpy()
        sheet.paste(Image.fromarray(small), (left, top))
        names = ", ".join(manifest.class_names[i] for i in record.targets.class_ids)
        fitting = names.encode("latin-1", "replace").decode("latin-1")[: side // 6]
        draw.text((left, top + side), fitting, fill="black")
    with replacing(path) as partial:
        sheet.save(partial, _FORMATS[path.suffix.lower()])
