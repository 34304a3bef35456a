"""Resizes 8-bit images as torchvision does, bit for bit, in half the time.

A decoder writes pixel by pixel (red, green, blue side by side), and PyTorch's vector code resizes
such images as they lie. torchvision then has the result taken apart into three planes wherever the
image was cut out of a larger one, which takes as long as the resizing. Here it stays pixel by
pixel, unless planes are asked for.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as pixels

INTERPOLATION = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}


def resize(
    image: Tensor,
    height: int,
    width: int,
    *,
    interpolation: str = "bilinear",
    antialias: bool,
    planes: bool = False,
) -> Tensor:
    """Resizes an image.

    Args:
        image: (3, H, W) uint8, in any memory layout.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        interpolation: A key of ``INTERPOLATION``.
        antialias: Whether shrinking averages over the pixels that it removes.
        planes: Whether the result is wanted plane by plane.

    Returns:
        (3, height, width) uint8; unless planes are wanted, pixel by pixel if the image is and the
        processor has AVX2. The image itself if it has that size.

    Example:
        >>> resize(torch.full((3, 5, 7), 9, dtype=torch.uint8), 2, 2, antialias=True).tolist()[0]
        [[9, 9], [9, 9]]
    """
    if image.shape[-2:] == (height, width):
        return image
    if planes or not _has_vector_code() or image.stride(0) != 1:
        mode = INTERPOLATION[interpolation]
        return pixels.resize(image, [height, width], interpolation=mode, antialias=antialias)
    # A batch of one. Its stride, which is never used, decides in which layout the result comes.
    batch = image.as_strided((1, *image.shape), (image.stride(1) * image.shape[1], *image.stride()))
    return interpolate(batch, (height, width), mode=interpolation, antialias=antialias)[0]


def _has_vector_code() -> bool:
    """Whether PyTorch resizes bytes by AVX2; elsewhere torchvision knows what is fastest."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
