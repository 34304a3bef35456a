"""From a decoded image to the network's input at evaluation: crop, resize, scale to [-1, 1].

The paper evaluates a single crop at 299x299 and does not say how it was cut. The default is that of
its era (TF-Slim's ``preprocess_for_eval``): the central 87.5 % of height and width, squashed to a
square. A model's preprocessing travels in its weights file: it is worth about one point of top-1.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as pixels

from xception.data.decoding import from_pil
from xception.data.evaluation_mode import EvaluationMode
from xception.data.resizing import INTERPOLATION, resize
from xception.errors import InputError, nearest

# A longer strip is cut to this ratio before its short side is enlarged: the crop takes a square
# from the middle, and a 1x5000 image would otherwise become 341 x 1,705,000.
_LONGEST_ASPECT = 8


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How an image becomes an evaluation input; the same for training, evaluation, prediction.

    Args:
        size: Height and width of the network's input, in pixels.
        mode: ``"central-crop"`` takes the central ``crop_fraction`` of height and width and
            resizes that to a square, whatever its aspect (the paper's era); ``"resize-crop"``
            resizes the short side to ``floor(size / crop_fraction)`` and takes the central square
            (timm, torchvision); ``"squash"`` resizes the whole image to a square, whatever its
            aspect (Keras' ``image_dataset_from_directory``, without antialias); ``"pad"`` resizes
            the whole image so that its long side fits, and puts black beside it.
        crop_fraction: Share of the image that is kept by the modes that crop, in (0, 1].
        interpolation: Filter of the resizing.
        antialias: Whether shrinking averages over all the pixels that it removes. TensorFlow's
            resizing of the paper's era did not.
        mean: Red, green and blue, as shares of 255, that become 0.
        std: Red, green and blue, as shares of 255, that become 1 above the mean. The defaults
            scale to [-1, 1], as Inception's and Xception's weights expect.

    Example:
        >>> prepare = Preprocessing(size=8)
        >>> image = torch.full((3, 20, 30), 255, dtype=torch.uint8)
        >>> prepare(image).shape
        torch.Size([3, 8, 8])
        >>> prepare.normalize(prepare(image)[None]).max().item()
        1.0
    """

    size: int = 299
    mode: EvaluationMode = "central-crop"
    crop_fraction: float = 0.875
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = True
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        if self.size < 2:  # to 1x1, PyTorch's resizing fails
            raise InputError(f"the image size is {self.size}; it must be at least 2 pixels")
        if not 0 < self.crop_fraction <= 1:
            raise InputError(f"crop_fraction is {self.crop_fraction}; it must be in (0, 1]")
        if self.mode not in get_args(EvaluationMode):
            known = "', '".join(get_args(EvaluationMode))
            raise InputError(f"there is no evaluation mode '{self.mode}'; use one of '{known}'")
        if self.interpolation not in INTERPOLATION:
            raise InputError(
                f"there is no interpolation '{self.interpolation}'; use 'bilinear' or 'bicubic'"
            )
        numbers = [*self.mean, *self.std]
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, numbers)):
            raise InputError(f"mean {self.mean} and std {self.std} need three numbers each")
        if min(self.std) <= 0 or max(self.mean) > 1:
            raise InputError(
                f"mean {self.mean} and std {self.std} are shares of 255, std above 0 and mean at "
                "most 1: divide numbers for pixels from 0 to 255 by 255"
            )

    def __call__(self, image: Tensor) -> Tensor:
        """Crops, resizes and pads one image.

        Args:
            image: (3, H, W) uint8.

        Returns:
            (3, size, size) uint8.
        """
        if self.mode == "central-crop":
            image = self._central(image)
        elif self.mode == "resize-crop":
            image = _shortened(image)
        target = self._target(image.shape[-2], image.shape[-1])
        image = resize(image, *target, interpolation=self.interpolation, antialias=self.antialias)
        if self.mode == "pad":
            return self._padded(image)
        return pixels.center_crop(image, [self.size, self.size])

    def _central(self, image: Tensor) -> Tensor:
        """The central share of height and width, cut as ``tf.image.central_crop`` does."""
        height, width = image.shape[-2:]
        top = int((height - height * self.crop_fraction) / 2)
        left = int((width - width * self.crop_fraction) / 2)
        return image[..., top : height - top, left : width - left]

    def _target(self, height: int, width: int) -> tuple[int, int]:
        """The height and width that an image is resized to."""
        if self.mode == "resize-crop":  # the central square is cut from it afterwards
            short = math.floor(self.size / self.crop_fraction)
            if height <= width:
                return short, int(short * width / height)
            return int(short * height / width), short
        if self.mode == "pad":
            scale = self.size / max(height, width)
            return max(1, round(height * scale)), max(1, round(width * scale))
        return self.size, self.size

    def _padded(self, image: Tensor) -> Tensor:
        """The image in the middle of a black square; of an odd remainder, more is below, right."""
        height, width = image.shape[-2:]
        top, left = (self.size - height) // 2, (self.size - width) // 2
        square = image.new_zeros((3, self.size, self.size))
        square[:, top : top + height, left : left + width] = image
        return square

    def normalize(self, images: Tensor) -> Tensor:
        """Scales pixel values to what the network takes, on the device where they are.

        Args:
            images: (N, 3, S, S) uint8, in any memory layout.

        Returns:
            (N, 3, S, S) float32, plane by plane; in [-1, 1] with the default mean and std.
        """
        # A layout of its own, not the images': it decides which convolution kernels run, and so the
        # last bits of a result.
        values = images.to(torch.float32, memory_format=torch.contiguous_format)
        mean = torch.tensor(self.mean, device=images.device).view(3, 1, 1) * 255
        std = torch.tensor(self.std, device=images.device).view(3, 1, 1) * 255
        return values.sub_(mean).div_(std)

    def transform(self, picture: Any) -> Tensor:
        """Turns one picture into the network's input: the ``transform`` of a torchvision data set.

        Args:
            picture: A PIL image of any mode, or (3, H, W) uint8.

        Returns:
            (3, size, size) float32; in [-1, 1] with the default mean and std.
        """
        image = picture if isinstance(picture, Tensor) else from_pil(picture)
        return self.normalize(self(image)[None])[0]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON primitives, for the metadata of a weights file."""
        fields = dataclasses.asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in fields.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Preprocessing":
        """Rebuilds a preprocessing from ``to_dict``'s result.

        Raises:
            InputError: A field that does not exist, or a value out of its range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in fields:
            if key not in known:
                raise InputError(f"preprocessing has no field '{key}'{nearest(key, known)}")
        values: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()
        }
        try:
            return cls(**values)
        except TypeError as error:  # of a damaged file, or one that somebody has edited
            raise InputError(f"preprocessing has a value of a wrong type ({error})") from None


def _shortened(image: Tensor) -> Tensor:
    """Cuts both ends of a very long strip, of which only the middle will be used."""
    height, width = image.shape[-2:]
    longest = _LONGEST_ASPECT * min(height, width)
    top = max(0, (height - longest) // 2)
    left = max(0, (width - longest) // 2)
    return image[..., top : height - top, left : width - left]
