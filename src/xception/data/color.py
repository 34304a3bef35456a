"""Colour distortion as TensorFlow defines it: brightness added, saturation in HSV.

The sums are done in float32 and rounded to 8 bits once, at the end. Every step is clipped to the
range of pixels. Deviation: TF-Slim clips only after the last step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as pixels


def distort_color(image: Tensor, operations: Sequence[tuple[str, float]]) -> Tensor:
    """Applies colour operations, in the order given.

    Args:
        image: (3, H, W) uint8.
        operations: Pairs of a name and an amount: ``("brightness", share of 255 to add)``,
            ``("saturation", factor)``, ``("contrast", factor)``, ``("hue", turns)``.

    Returns:
        (3, H, W) uint8.

    Example:
        >>> grey = torch.full((3, 1, 1), 100, dtype=torch.uint8)
        >>> distort_color(grey, [("brightness", 20 / 255), ("saturation", 1.5)]).flatten().tolist()
        [120, 120, 120]
    """
    values = image.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    for name, amount in operations:
        values = _OPERATIONS[name](values, amount).clamp_(0, 255)
    # By way of 16 bits: PyTorch has vector code for these two conversions, not for the direct one.
    return values.round_().to(torch.int16).to(torch.uint8)


def _brightness(values: Tensor, share: float) -> Tensor:
    return values.add_(255 * share)


def _saturation(values: Tensor, factor: float) -> Tensor:
    """Scales HSV's saturation, clipped to 1, at the same hue and value.

    With V the greatest and m the least channel, S = (V - m) / V, and a channel x is
    V - (V - x) * S'/S at the new saturation S' = min(factor * S, 1).
    """
    red, green, blue = values
    most = torch.maximum(red, green)  # twice the speed of amax over three planes
    torch.maximum(most, blue, out=most)
    spread = torch.minimum(red, green)
    torch.minimum(spread, blue, out=spread)
    torch.sub(most, spread, out=spread)
    factors = torch.div(most, spread, out=spread)
    factors.clamp_(max=factor)  # 1/S caps the factor; x/0 = inf: grey stays grey
    factors.nan_to_num_(nan=1.0)  # 0/0, black
    torch.sub(most, values, out=values)
    return torch.sub(most, values.mul_(factors), out=values)


def _contrast(values: Tensor, factor: float) -> Tensor:
    """Moves each channel away from or towards its own mean, as ``tf.image.adjust_contrast``."""
    mean = values.mean((1, 2), keepdim=True)
    return values.sub_(mean).mul_(factor).add_(mean)


def _hue(values: Tensor, turns: float) -> Tensor:
    return pixels.adjust_hue(values / 255, turns) * 255


_OPERATIONS = {
    "brightness": _brightness,
    "saturation": _saturation,
    "contrast": _contrast,
    "hue": _hue,
}
