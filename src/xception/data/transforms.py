"""Training transforms: Inception-style crops for photographs, shifts for 32x32 images.

What is drawn for a sample (``TrainingTransform.draw``) is kept apart from what is done to its
pixels (``apply``): an ``Augmentation`` is a pure function of the sample's generator and its size.

The paper does not state its augmentation; the defaults are those of TF-Slim's
``inception_preprocessing`` of the same group and year: crops of 5–100 % of the area, aspect
3/4–4/3, horizontal flip, brightness ± 32/255, saturation × 0.5–1.5, these two in random order.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as pixels

from xception.data.color import distort_color
from xception.data.resizing import resize
from xception.errors import InputError

_CROP_ATTEMPTS = 10
# Every sample draws this many uniform numbers, each with its fixed use, so that turning one
# augmentation off does not change another.
_FLIP, _HOLE, _SHIFT, _COLORS, _COLOR_ORDER, _CROPS = 0, 1, 3, 5, 9, 13
_UNIFORMS = _CROPS + 4 * _CROP_ATTEMPTS
_HOLE_FILL = 127  # mid-grey, close to 0 after scaling to [-1, 1]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What was drawn for one sample.

    Attributes:
        top: First row of the crop; for a shift, relative to the padded image.
        left: First column of the crop.
        height: Rows of the crop.
        width: Columns of the crop.
        flipped: Whether left and right change places.
        colors: What is done to the colours, in this order: pairs of operation and amount.
        hole: Centre (row, column) of the square that is blanked, or None.
    """

    top: int
    left: int
    height: int
    width: int
    flipped: bool
    colors: tuple[tuple[str, float], ...]
    hole: tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class TrainingTransform:
    """Augments training images; every number is drawn from the sample's own generator.

    Args:
        size: Height and width of the result, in pixels.
        crop: ``"inception"`` cuts a random rectangle and resizes it; ``"shift"`` pads the image
            with black and cuts a window of its own size from it; ``"none"`` takes the whole image.
        crop_area: For ``"inception"``: least and greatest share of the image's area.
        crop_aspect: For ``"inception"``: least and greatest width over height.
        shift: For ``"shift"``: the most pixels that the image moves in each direction.
            Deviation: not in the paper; for small images.
        flip: Whether half of the images are mirrored left to right.
        brightness: Greatest change of brightness, as a share of 255. 0 turns it off.
        saturation: Least and greatest factor of the saturation, or None.
        contrast: Least and greatest factor of the contrast, or None.
        hue: Greatest turn of the hue, in full turns, at most 0.5. 0 turns it off.
        cutout: Side of a square that is blanked at a random place, in pixels; 0 is off.
            Deviation: not in the paper.
        interpolation: Filter of the resizing.
        antialias: Whether shrinking averages over the pixels that it removes.

    Example:
        >>> augment = TrainingTransform(size=16)
        >>> image = torch.zeros(3, 40, 30, dtype=torch.uint8)
        >>> augment([image], [torch.Generator().manual_seed(7)]).shape
        torch.Size([1, 3, 16, 16])
    """

    size: int = 299
    crop: Literal["inception", "shift", "none"] = "inception"
    crop_area: tuple[float, float] = (0.05, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    shift: int = 4
    flip: bool = True
    brightness: float = 32 / 255
    saturation: tuple[float, float] | None = (0.5, 1.5)
    contrast: tuple[float, float] | None = None
    hue: float = 0.0
    cutout: int = 0
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        if self.size < 2:  # to 1x1, PyTorch's resizing fails
            raise InputError(f"the image size is {self.size}; it must be at least 2 pixels")
        if self.crop not in ("inception", "shift", "none"):
            raise InputError(f"there is no crop '{self.crop}'; use 'inception', 'shift' or 'none'")
        for key in ("crop_area", "crop_aspect", "saturation", "contrast"):
            bounds = getattr(self, key)
            if bounds is not None and not 0 <= bounds[0] <= bounds[1]:
                raise InputError(f"{key} is {bounds}; it needs two numbers, the lesser first")
        if not 0 < self.crop_area[1] <= 1 or self.crop_aspect[0] <= 0:
            raise InputError(
                f"crop_area {self.crop_area} must lie in (0, 1], crop_aspect {self.crop_aspect} "
                "above 0"
            )
        if self.shift < 0 or self.cutout < 0 or not 0 <= self.brightness <= 1:
            raise InputError(
                f"shift {self.shift} and cutout {self.cutout} must be at least 0 pixels, "
                f"brightness {self.brightness} in [0, 1]"
            )
        if not 0 <= self.hue <= 0.5:
            raise InputError(f"hue is {self.hue}; it must be in [0, 0.5]")

    def __call__(self, images: Sequence[Tensor], generators: Sequence[torch.Generator]) -> Tensor:
        """Augments a batch.

        Args:
            images: N images, each (3, H, W) uint8, of any sizes.
            generators: One per image, freshly seeded for its sample.

        Returns:
            (N, 3, size, size) uint8.
        """
        drawn = [
            self.draw(generator, *image.shape[-2:])
            for image, generator in zip(images, generators, strict=True)
        ]
        return self.apply(images, drawn)

    def draw(self, generator: torch.Generator, height: int, width: int) -> Augmentation:
        """Draws what is done to a sample.

        Args:
            generator: The sample's generator; it gives the same count of numbers in every case.
            height: Of the image, in pixels.
            width: Of the image, in pixels.
        """
        uniforms = torch.rand(_UNIFORMS, generator=generator, dtype=torch.float64).tolist()
        if self.crop == "inception":
            box = self._draw_box(uniforms[_CROPS:], height, width)
        elif self.crop == "shift":
            span = 2 * self.shift + 1
            top, left = (int(u * span) for u in uniforms[_SHIFT : _SHIFT + 2])
            box = (top, left, self.size, self.size)
        else:
            box = (0, 0, height, width)
        hole = None
        if self.cutout:
            row, column = (int(u * self.size) for u in uniforms[_HOLE : _HOLE + 2])
            hole = (row, column)
        return Augmentation(
            *box, self.flip and uniforms[_FLIP] < 0.5, self._draw_colors(uniforms), hole
        )

    def _draw_box(
        self, uniforms: Sequence[float], height: int, width: int
    ) -> tuple[int, int, int, int]:
        """A rectangle of random area and aspect: top, left, height, width.

        Deviation: TF-Slim's sampler also asks that a tenth of the object's box be covered, and the
        box is the whole image, so that its least area is in effect 10 %, not the 5 % that it names.
        """
        area = height * width
        least, most = (math.log(bound) for bound in self.crop_aspect)
        for attempt in range(_CROP_ATTEMPTS):
            share, aspect, down, across = uniforms[4 * attempt : 4 * attempt + 4]
            target = area * _between(self.crop_area, share)
            ratio = math.exp(least + (most - least) * aspect)
            crop_width = round(math.sqrt(target * ratio))
            crop_height = round(math.sqrt(target / ratio))
            if 0 < crop_width <= width and 0 < crop_height <= height:
                top = int(down * (height - crop_height + 1))
                left = int(across * (width - crop_width + 1))
                return top, left, crop_height, crop_width
        # An image so long that no rectangle fitted: its middle, within the aspects.
        low, high = self.crop_aspect
        crop_height, crop_width = height, width
        if width < height * low:
            crop_height = min(height, max(1, round(width / low)))
        elif width > height * high:
            crop_width = min(width, max(1, round(height * high)))
        return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width

    def _draw_colors(self, uniforms: Sequence[float]) -> tuple[tuple[str, float], ...]:
        brightness, saturation, contrast, hue = uniforms[_COLORS : _COLORS + 4]
        drawn: list[tuple[float, str, float]] = []
        order = uniforms[_COLOR_ORDER : _COLOR_ORDER + 4]
        if self.brightness:
            amount = _between((-self.brightness, self.brightness), brightness)
            drawn.append((order[0], "brightness", amount))
        if self.saturation is not None:
            drawn.append((order[1], "saturation", _between(self.saturation, saturation)))
        if self.contrast is not None:
            drawn.append((order[2], "contrast", _between(self.contrast, contrast)))
        if self.hue:
            drawn.append((order[3], "hue", _between((-self.hue, self.hue), hue)))
        return tuple((name, amount) for _, name, amount in sorted(drawn))

    @property
    def layout(self) -> torch.memory_format:
        """How a batch lies in memory: as it costs least.

        Colours are computed plane by plane. Without them, pixels stay together, as in a decoder's
        output.
        """
        colors = self.brightness or self.saturation is not None or self.contrast is not None
        return torch.contiguous_format if colors or self.hue else torch.channels_last

    def apply(
        self, images: Sequence[Tensor], drawn: Sequence[Augmentation], out: Tensor | None = None
    ) -> Tensor:
        """Does to the pixels what was drawn: (N, 3, size, size) uint8.

        Args:
            images: N images, each (3, H, W) uint8.
            drawn: One per image.
            out: Where to put the results, of their shape; None: into new memory.
        """
        if out is None:
            shape = (len(images), 3, self.size, self.size)
            out = torch.empty(shape, dtype=torch.uint8, memory_format=self.layout)
        batch = out
        if self.crop == "inception":
            for row, image, augmentation in zip(batch, images, drawn, strict=True):
                row.copy_(self._crop(image, augmentation))
        else:
            batch.copy_(self._shifted(torch.stack([self._whole(image) for image in images]), drawn))
        if self.cutout:
            _blank(batch, [d.hole for d in drawn if d.hole is not None], self.cutout)
        for image, augmentation in zip(batch, drawn, strict=True):
            if augmentation.colors:
                image.copy_(distort_color(image, augmentation.colors))
        return batch

    def _resize(self, image: Tensor) -> Tensor:
        return resize(
            image,
            self.size,
            self.size,
            interpolation=self.interpolation,
            antialias=self.antialias,
            planes=self.layout == torch.contiguous_format,
        )

    def _crop(self, image: Tensor, drawn: Augmentation) -> Tensor:
        rows = slice(drawn.top, drawn.top + drawn.height)
        columns = slice(drawn.left, drawn.left + drawn.width)
        image = self._resize(image[:, rows, columns])
        return pixels.horizontal_flip(image) if drawn.flipped else image

    def _whole(self, image: Tensor) -> Tensor:
        return image if image.shape[-2:] == (self.size, self.size) else self._resize(image)

    def _shifted(self, images: Tensor, drawn: Sequence[Augmentation]) -> Tensor:
        """Shifts and flips a whole batch by one gather: (N, 3, S, S)."""
        reach = torch.arange(self.size)
        columns = reach.expand(len(drawn), -1)
        flipped = torch.tensor([d.flipped for d in drawn])
        columns = torch.where(flipped[:, None], self.size - 1 - columns, columns)
        rows = reach.expand(len(drawn), -1)
        if self.crop == "shift":
            images = torch.nn.functional.pad(images, [self.shift] * 4)
            rows = rows + torch.tensor([d.top for d in drawn])[:, None]
            columns = columns + torch.tensor([d.left for d in drawn])[:, None]
        sample = torch.arange(len(drawn))[:, None, None]
        by_pixel = images.permute(0, 2, 3, 1)  # (N, H, W, 3)
        shifted = by_pixel[sample, rows[:, :, None], columns[:, None, :]]
        return shifted.permute(0, 3, 1, 2).contiguous()


def _between(bounds: tuple[float, float], uniform: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * uniform


def _blank(images: Tensor, centres: Sequence[tuple[int, int]], side: int) -> None:
    """Fills a square of each image, which may reach over the border, with grey, in place."""
    size = images.shape[-1]
    first = torch.tensor(centres) - side // 2  # (N, 2): top, left
    reach = torch.arange(size)
    inside = (reach >= first[..., None]) & (reach < first[..., None] + side)  # (N, 2, S)
    hole = inside[:, 0, :, None] & inside[:, 1, None, :]  # (N, S, S)
    images.masked_fill_(hole[:, None], _HOLE_FILL)
