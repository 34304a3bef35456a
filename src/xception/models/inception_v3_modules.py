"""The modules of Inception V3: its convolution, its stem, its three grids and two reductions.

Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", and the
implementations in Keras, torchvision and timm, which agree but for the constants below.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xception.models.layers import Numerics, scaled_channels

Variant = Literal["standard", "paper"]


@dataclass(frozen=True)
class Style:
    """What all modules of one network share.

    Args:
        variant: "standard" (convolution, BatchNorm, ReLU) or "paper" (convolution with bias, ReLU,
            BatchNorm).
        numerics: "keras": average pools leave the padding out, momentum 0.01; "timm": they count
            it, momentum 0.1 (torchvision's too). eps is 1e-3 in both.
        width: Factor on all channels, which are rounded to multiples of 8.
        dilation: Distance between the taps of all kernels.
    """

    variant: Variant
    numerics: Numerics
    width: float
    dilation: int = 1

    def scaled(self, channels: int) -> int:
        """Returns the channels of this network where the original has ``channels``."""
        return scaled_channels(channels, self.width)


class InceptionConv(nn.Module):
    """A convolution, BatchNorm and ReLU, in the order of the variant.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel.
        style: What the network's modules share.
        stride: Stride.
        valid: Whether there is no padding; otherwise the size stays (SAME, stride 1).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        style: Style,
        *,
        stride: int = 1,
        valid: bool = False,
    ) -> None:
        super().__init__()
        self.relu_first = style.variant == "paper"
        height, width = kernel_size
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=0 if valid else (style.dilation * (height // 2), style.dilation * (width // 2)),
            dilation=style.dilation,
            bias=self.relu_first,
        )
        momentum = {"keras": 0.01, "timm": 0.1}[style.numerics]
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H', W')."""
        if self.relu_first:
            return self.norm(F.relu(self.conv(x)))
        return F.relu(self.norm(self.conv(x)))


def average_pool(x: Tensor, style: Style) -> Tensor:
    """Averages 3x3 windows at stride 1, SAME; "keras" divides by the pixels inside the image only.

    torch has no dilated average pooling: there it is a convolution with a constant kernel.
    """
    counts_padding = style.numerics == "timm"
    if style.dilation == 1:
        return F.avg_pool2d(x, 3, 1, padding=1, count_include_pad=counts_padding)
    d, channels = style.dilation, x.shape[1]
    kernel = torch.full((channels, 1, 3, 3), 1 / 9, dtype=x.dtype, device=x.device)
    average = F.conv2d(x, kernel, padding=d, dilation=d, groups=channels)
    if counts_padding:
        return average
    inside = F.conv2d(torch.ones_like(x[:1, :1]), kernel[:1], padding=d, dilation=d)
    return average / inside


Layers = list[tuple[int, tuple[int, int]]]
"""Convolutions in a row: output channels before scaling, and kernel size, of each."""


def branch(
    in_channels: int, layers: Layers, style: Style, reduction: int | None = None
) -> nn.Sequential:
    """Returns convolutions in a row, all SAME but, with a ``reduction``, the last.

    Args:
        in_channels: Channels of the input.
        layers: The convolutions.
        style: What the network's modules share.
        reduction: Stride of the last convolution, which is then VALID.
    """
    chain = nn.Sequential()
    for i, (out_channels, kernel_size) in enumerate(layers):
        reduces = reduction is not None and i == len(layers) - 1
        chain.append(
            InceptionConv(
                in_channels,
                style.scaled(out_channels),
                kernel_size,
                style,
                stride=reduction if reduces and reduction else 1,
                valid=reduces,
            )
        )
        in_channels = style.scaled(out_channels)
    return chain


class Grid35(nn.Module):
    """Module of the 35x35 grid (three in a row): 1x1, 5x5, double 3x3 and pooled branches.

    Args:
        in_channels: Channels of the input.
        pool_channels: Channels of the projection after the pool.
        style: What the network's modules share.
    """

    def __init__(self, in_channels: int, pool_channels: int, style: Style) -> None:
        super().__init__()
        self.style = style
        self.branch1x1 = branch(in_channels, [(64, (1, 1))], style)
        self.branch5x5 = branch(in_channels, [(48, (1, 1)), (64, (5, 5))], style)
        double = [(64, (1, 1)), (96, (3, 3)), (96, (3, 3))]
        self.branch3x3_double = branch(in_channels, double, style)
        self.branch_pool = branch(in_channels, [(pool_channels, (1, 1))], style)
        self.out_channels = sum(style.scaled(c) for c in (64, 64, 96, pool_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H, W)."""
        maps = [self.branch1x1(x), self.branch5x5(x), self.branch3x3_double(x)]
        return torch.cat([*maps, self.branch_pool(average_pool(x, self.style))], 1)


class Reduction35(nn.Module):
    """From the 35x35 grid to the 17x17 one: 3x3, double 3x3 and a max pool, all VALID.

    Args:
        in_channels: Channels of the input.
        style: What the network's modules share.
        stride: 2, or 1 in a dilated network.
    """

    def __init__(self, in_channels: int, style: Style, stride: int) -> None:
        super().__init__()
        self.branch3x3 = branch(in_channels, [(384, (3, 3))], style, stride)
        double = [(64, (1, 1)), (96, (3, 3)), (96, (3, 3))]
        self.branch3x3_double = branch(in_channels, double, style, stride)
        self.pool = nn.MaxPool2d(3, stride, dilation=style.dilation)
        self.out_channels = style.scaled(384) + style.scaled(96) + in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, (H - 1) // 2, (W - 1) // 2)."""
        return torch.cat([self.branch3x3(x), self.branch3x3_double(x), self.pool(x)], 1)


class Grid17(nn.Module):
    """Module of the 17x17 grid (four in a row): 1x1, 7x7 and double 7x7 in factors, pooled.

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels within the 7x7 branch.
        double_channels: Channels of the first 1x1 of the double 7x7 branch; ``mid_channels`` but
            for the last module of the paper variant.
        style: What the network's modules share.
    """

    def __init__(
        self, in_channels: int, mid_channels: int, double_channels: int, style: Style
    ) -> None:
        super().__init__()
        self.style = style
        mid = mid_channels
        self.branch1x1 = branch(in_channels, [(192, (1, 1))], style)
        single = [(mid, (1, 1)), (mid, (1, 7)), (192, (7, 1))]
        self.branch7x7 = branch(in_channels, single, style)
        double = [(double_channels, (1, 1)), (mid, (7, 1)), (mid, (1, 7)), (mid, (7, 1))]
        self.branch7x7_double = branch(in_channels, [*double, (192, (1, 7))], style)
        self.branch_pool = branch(in_channels, [(192, (1, 1))], style)
        self.out_channels = 4 * style.scaled(192)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H, W)."""
        maps = [self.branch1x1(x), self.branch7x7(x), self.branch7x7_double(x)]
        return torch.cat([*maps, self.branch_pool(average_pool(x, self.style))], 1)


class Reduction17(nn.Module):
    """From the 17x17 grid to the 8x8 one: 3x3, 7x7 then 3x3, and a pool, all VALID.

    Args:
        in_channels: Channels of the input.
        style: What the network's modules share; the paper variant average-pools.
        stride: 2, or 1 in a dilated network.
    """

    def __init__(self, in_channels: int, style: Style, stride: int) -> None:
        super().__init__()
        layers = [(192, (1, 1)), (320, (3, 3))]
        self.branch3x3 = branch(in_channels, layers, style, stride)
        layers = [(192, (1, 1)), (192, (1, 7)), (192, (7, 1)), (192, (3, 3))]
        self.branch7x7 = branch(in_channels, layers, style, stride)
        self.averages = style.variant == "paper"
        self.stride, self.dilation = stride, style.dilation
        self.out_channels = style.scaled(320) + style.scaled(192) + in_channels

    def _pool(self, x: Tensor) -> Tensor:
        if not self.averages:
            return F.max_pool2d(x, 3, self.stride, dilation=self.dilation)
        if self.dilation == 1:
            return F.avg_pool2d(x, 3, self.stride)
        kernel = torch.full((x.shape[1], 1, 3, 3), 1 / 9, dtype=x.dtype, device=x.device)
        return F.conv2d(x, kernel, dilation=self.dilation, groups=x.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, (H - 1) // 2, (W - 1) // 2)."""
        return torch.cat([self.branch3x3(x), self.branch7x7(x), self._pool(x)], 1)


class Grid8(nn.Module):
    """Module of the 8x8 grid (two in a row): its 3x3 branches fan out into 1x3 and 3x1.

    Args:
        in_channels: Channels of the input.
        style: What the network's modules share.
    """

    def __init__(self, in_channels: int, style: Style) -> None:
        super().__init__()
        self.style = style
        c384 = style.scaled(384)
        self.branch1x1 = branch(in_channels, [(320, (1, 1))], style)
        self.branch3x3 = branch(in_channels, [(384, (1, 1))], style)
        self.branch3x3_wide = InceptionConv(c384, c384, (1, 3), style)
        self.branch3x3_tall = InceptionConv(c384, c384, (3, 1), style)
        self.branch3x3_double = branch(in_channels, [(448, (1, 1)), (384, (3, 3))], style)
        self.branch3x3_double_wide = InceptionConv(c384, c384, (1, 3), style)
        self.branch3x3_double_tall = InceptionConv(c384, c384, (3, 1), style)
        self.branch_pool = branch(in_channels, [(192, (1, 1))], style)
        self.out_channels = style.scaled(320) + 4 * c384 + style.scaled(192)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H, W)."""
        single, double = self.branch3x3(x), self.branch3x3_double(x)
        maps = [self.branch1x1(x), self.branch3x3_wide(single), self.branch3x3_tall(single)]
        maps += [self.branch3x3_double_wide(double), self.branch3x3_double_tall(double)]
        return torch.cat([*maps, self.branch_pool(average_pool(x, self.style))], 1)
