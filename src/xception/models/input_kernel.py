"""The first kernel of a pretrained network, for images with another number of channels."""

from typing import Literal

from torch import Tensor

from xception.models.validation import check_choice, check_integer


def adapt_input_kernel(
    weight: Tensor, in_channels: int, mode: Literal["sum", "repeat"] = "sum"
) -> Tensor:
    """Returns the first convolution's weight for another number of input channels.

    "sum" gives every new channel the sum over the old ones divided by the number of new ones:
    images whose channels are all equal (grey as RGB) get exactly the same answer. "repeat" goes
    round the old channels and scales by old / new number: the channels keep their different
    kernels, and the size of the answer stays about the same.

    Args:
        weight: (C, old channels, height, width).
        in_channels: New number of channels.
        mode: "sum" or "repeat".

    Returns:
        (C, in_channels, height, width); ``weight`` itself if the number is the same.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> import torch
        >>> adapt_input_kernel(torch.ones(8, 3, 3, 3), 1)[0, 0, 0, 0]
        tensor(3.)
    """
    check_choice("mode", mode, ["sum", "repeat"])
    check_integer("in_channels", in_channels)
    old = weight.shape[1]
    if in_channels == old:
        return weight
    if mode == "sum":
        return weight.sum(1, keepdim=True).repeat(1, in_channels, 1, 1) / in_channels
    indices = [channel % old for channel in range(in_channels)]
    return weight[:, indices] * (old / in_channels)
