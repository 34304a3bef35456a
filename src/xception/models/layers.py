"""The layers of figure 5: separable convolution, BatchNorm, and the max pooling between modules.

A separable convolution (section 2) is a depthwise 3x3 convolution, one filter for each channel,
followed by a pointwise (1x1) convolution, with nothing between them (section 4.7) and no biases.
Section 1.2 puts it at one end of a continuum: ``segments`` says on how many independent groups of
channels the spatial convolution works, from 1 (a regular convolution) to one for each channel.
"""

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from xception.models.validation import check_choice, check_integer, check_segments

Numerics = Literal["keras", "timm"]
"""Which published implementation a network agrees with: its pooling, its BatchNorm constants."""

Order = Literal["depthwise-first", "pointwise-first"]
Activation = Literal["relu", "elu"]

# eps, and momentum in torch's sense: the weight of the new batch (Keras writes 0.99 for 0.01).
_NORM_CONSTANTS = {"keras": (1e-3, 0.01), "timm": (1e-5, 0.1)}


def batch_norm(channels: int, numerics: Numerics, *, affine_scale: bool = True) -> nn.Module:
    """Returns the BatchNorm of a numerics profile.

    Deviation: the paper gives neither constant; "keras" has those of its Keras implementation.
    Keras' moving variance averages the biased estimate of a batch, torch's the unbiased one
    (n/(n-1) times as large, n the values of one channel in a batch): it is kept as torch has it.

    Args:
        channels: Channels of the input.
        numerics: "keras" (eps 1e-3, momentum 0.01) or "timm" (eps 1e-5, momentum 0.1).
        affine_scale: Whether the scale gamma is trained. Fixed at 1 it stays in the state dict.
    """
    eps, momentum = _NORM_CONSTANTS[check_choice("numerics", numerics, ["keras", "timm"])]
    norm = nn.BatchNorm2d(channels, eps=eps, momentum=momentum)
    norm.weight.requires_grad_(affine_scale)
    return norm


def activation_layer(name: Activation | None) -> nn.Module:
    """Returns ReLU, ELU or, for None, the identity."""
    return {None: nn.Identity, "relu": nn.ReLU, "elu": nn.ELU}[name]()


class SeparableConv2d(nn.Module):
    """A spatial convolution on segments of the channels, and a pointwise one over all of them.

    With ``segments="depthwise"`` this is the paper's depthwise separable convolution. Padding is
    SAME, so that at stride 1 height and width stay.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the spatial kernel, odd.
        stride: Stride of the spatial convolution (Xception: always 1).
        dilation: Distance between the taps of the spatial kernel.
        segments: Groups of channels that the spatial convolution treats apart: "depthwise" is one
            for each channel, 1 a regular convolution. It must divide the channels evenly.
        order: "depthwise-first" (the paper) or "pointwise-first" (the Inception module's order,
            section 2); the spatial convolution then works on ``out_channels``.
        intermediate_activation: None (the paper), "relu" or "elu" between the two (section 4.7).

    Attributes:
        depthwise: The spatial convolution; its weight is
            (channels, channels / segments, kernel_size, kernel_size).
        pointwise: The 1x1 convolution; its weight is (out_channels, in_channels, 1, 1).

    Raises:
        InputError: An argument is out of range, or ``segments`` does not divide the channels.

    Example:
        >>> import torch
        >>> layer = SeparableConv2d(8, 16)
        >>> layer(torch.zeros(2, 8, 5, 5)).shape
        torch.Size([2, 16, 5, 5])
        >>> sum(p.numel() for p in layer.parameters()) == 8 * 9 + 8 * 16
        True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        segments: int | Literal["depthwise"] = "depthwise",
        order: Order = "depthwise-first",
        intermediate_activation: Activation | None = None,
    ) -> None:
        super().__init__()
        check_integer("in_channels", in_channels)
        check_integer("out_channels", out_channels)
        check_choice("order", order, ["depthwise-first", "pointwise-first"])
        check_choice("intermediate_activation", intermediate_activation, [None, "relu", "elu"])
        check_choice("kernel_size", kernel_size, [1, 3, 5, 7, 9, 11])
        channels = in_channels if order == "depthwise-first" else out_channels
        check_segments(segments, [channels])
        self.order = order
        self.depthwise = nn.Conv2d(
            channels,
            channels,
            kernel_size,
            stride=check_integer("stride", stride),
            padding=dilation * (kernel_size // 2),
            dilation=check_integer("dilation", dilation),
            groups=channels if segments == "depthwise" else int(segments),
            bias=False,
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.activation = activation_layer(intermediate_activation)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        if self.order == "depthwise-first":
            return self.pointwise(self.activation(self.depthwise(x)))
        return self.depthwise(self.activation(self.pointwise(x)))


class ConvBN(nn.Module):
    """A convolution without bias and its BatchNorm, no activation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel.
        stride: Stride.
        padding: Zeros added on each side; 0 is VALID.
        numerics: The BatchNorm's constants.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        numerics: Numerics = "keras",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False
        )
        self.norm = batch_norm(out_channels, numerics)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H', W')."""
        return self.norm(self.conv(x))


class SeparableConvBN(nn.Module):
    """A separable convolution and its BatchNorm, no activation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dilation: Distance between the taps of the spatial kernel.
        segments: See SeparableConv2d.
        order: See SeparableConv2d.
        intermediate_activation: See SeparableConv2d.
        numerics: The BatchNorm's constants.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dilation: int = 1,
        segments: int | Literal["depthwise"] = "depthwise",
        order: Order = "depthwise-first",
        intermediate_activation: Activation | None = None,
        numerics: Numerics = "keras",
    ) -> None:
        super().__init__()
        self.conv = SeparableConv2d(
            in_channels,
            out_channels,
            dilation=dilation,
            segments=segments,
            order=order,
            intermediate_activation=intermediate_activation,
        )
        self.norm = batch_norm(out_channels, numerics)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H, W)."""
        return self.norm(self.conv(x))


class SameMaxPool2d(nn.Module):
    """3x3 max pooling padded as TensorFlow's SAME does, which depends on the size of the input.

    Of the total padding max((ceil(n/stride) - 1)·stride + 3 - n, 0), the smaller half goes before
    and the rest after. At stride 2 that is (1, 1) for an odd n and (0, 1) for an even one, which is
    what torch's ``ceil_mode`` does without padding: no copy of the input is needed.

    Args:
        stride: 2, or 1 where a dilated network keeps the size of its maps.
        dilation: Distance between the taps; only at stride 1.
        symmetric: At stride 1, whether as much is padded before as after, whatever the size: the
            counterpart of a pool that is padded by one on every side.

    Example:
        >>> import torch
        >>> x = torch.tensor([[5.0, 1.0, 2.0, 3.0]]).expand(1, 1, 4, 4)
        >>> SameMaxPool2d()(x)[0, 0, 0]
        tensor([5., 3.])
    """

    kernel_size: ClassVar[int] = 3

    def __init__(self, stride: int = 2, dilation: int = 1, *, symmetric: bool = False) -> None:
        super().__init__()
        check_choice("stride", stride, [1, 2])
        assert stride == 1 or not symmetric, "torch's own pool does that"
        assert stride == 1 or dilation == 1, "a dilated pool keeps the size"
        self.stride = stride
        self.dilation = dilation
        self.symmetric = symmetric

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride))."""
        if self.stride == 1:
            # Stands for a pool of stride 2 on every dilation-th pixel, ceil(n / dilation) of them:
            # padded as SAME pads those, its values on their grid are the strided network's.
            padding = []
            for n in (x.shape[3], x.shape[2]):
                odd = self.symmetric or -(-n // self.dilation) % 2
                before = self.dilation if odd else 0
                padding += [before, 2 * self.dilation - before]
            x = F.pad(x, padding, value=float("-inf"))
            return F.max_pool2d(x, self.kernel_size, 1, dilation=self.dilation)
        both = (x.shape[2] % 2, x.shape[3] % 2)
        return F.max_pool2d(x, self.kernel_size, 2, both, ceil_mode=True)

    def extra_repr(self) -> str:
        """Shows the arguments in the printed model."""
        return f"stride={self.stride}, dilation={self.dilation}"


def max_pool(numerics: Numerics, stride: int, dilation: int = 1) -> nn.Module:
    """Returns the 3x3 max pooling of a numerics profile: TF-SAME, or padded by one on every side.

    Args:
        numerics: "keras" or "timm".
        stride: 1 or 2.
        dilation: Distance between the taps; only at stride 1.
    """
    if numerics == "keras":
        return SameMaxPool2d(stride, dilation)
    if stride == 1:
        return SameMaxPool2d(1, dilation, symmetric=True)
    return nn.MaxPool2d(3, stride, padding=1)


def scaled_channels(channels: int, width: float) -> int:
    """Returns ``channels * width`` rounded to a multiple of 8, at least 8.

    Example:
        >>> scaled_channels(728, 0.25), scaled_channels(32, 0.1)
        (184, 8)
    """
    return max(8, int(channels * width / 8 + 0.5) * 8)


def initialize(model: nn.Module) -> None:
    """Draws all weights as Keras does: Glorot uniform, biases 0, BatchNorm scale 1 and shift 0.

    The paper does not name its initialization; Glorot uniform is the default of the Keras layers
    that it used. torch's fans of a grouped kernel add up to the same sum as Keras'.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
