"""The three flows of figure 5: entry, middle and exit, and the two kinds of module in them.

Of the 14 modules of section 3, the entry flow has the stem's two convolutions (1) and three
downsampling modules (2-4), the middle flow eight modules (5-12), the exit flow one downsampling
module (13) and two separable convolutions (14). BatchNorm follows every convolution.
"""

from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from xception.models.layers import ConvBN, SeparableConvBN, max_pool
from xception.models.recompute import run_checkpointed


class Widths(NamedTuple):
    """Output channels of every stage of figure 5."""

    conv1: int = 32
    conv2: int = 64
    entry1: int = 128
    entry2: int = 256
    middle: int = 728
    exit: int = 1024
    separable1: int = 1536
    separable2: int = 2048

    def segmented(self, order: str) -> list[int]:
        """Returns the channels that the spatial convolutions work on."""
        both = list(self[1:])
        return both[:-1] if order == "depthwise-first" else both[1:]


class DownsamplingModule(nn.Module):
    """Two separable convolutions and a max pool, beside a strided 1x1 convolution.

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels between the separable convolutions.
        out_channels: Channels of the output.
        leading_relu: Whether a ReLU stands before the first separable convolution (all but the
            first such module).
        residual: Whether the shortcut exists (section 4.6 leaves it out).
        stride: Of pool and shortcut: 2, or 1 in a dilated network.
        drop_path: Probability that a sample skips the branch in training (stochastic depth).
        separable: Arguments of every SeparableConvBN.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        *,
        leading_relu: bool,
        residual: bool,
        stride: int,
        drop_path: float,
        separable: dict[str, Any],
    ) -> None:
        super().__init__()
        numerics, dilation = separable["numerics"], separable["dilation"]
        self.leading_relu = leading_relu
        self.separable1 = SeparableConvBN(in_channels, mid_channels, **separable)
        self.separable2 = SeparableConvBN(mid_channels, out_channels, **separable)
        self.pool = max_pool(numerics, stride, dilation if stride == 1 else 1)
        self.drop_path = StochasticDepth(drop_path, "row")
        self.shortcut = (
            ConvBN(in_channels, out_channels, 1, stride=stride, numerics=numerics)
            if residual
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride), rounded up."""
        branch = self.separable1(F.relu(x) if self.leading_relu else x)
        branch = self.pool(self.separable2(F.relu(branch)))
        return branch if self.shortcut is None else self.drop_path(branch) + self.shortcut(x)


class MiddleModule(nn.Module):
    """Three separable convolutions, each after a ReLU, beside the identity.

    Args:
        channels: Channels of input and output.
        residual: Whether the shortcut exists (section 4.6 leaves it out).
        drop_path: Probability that a sample skips the branch in training (stochastic depth).
        separable: Arguments of every SeparableConvBN.
    """

    def __init__(
        self, channels: int, *, residual: bool, drop_path: float, separable: dict[str, Any]
    ) -> None:
        super().__init__()
        self.residual = residual
        self.separable1 = SeparableConvBN(channels, channels, **separable)
        self.separable2 = SeparableConvBN(channels, channels, **separable)
        self.separable3 = SeparableConvBN(channels, channels, **separable)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, channels, H, W) to the same shape."""
        branch = self.separable1(F.relu(x))
        branch = self.separable2(F.relu(branch))
        branch = self.separable3(F.relu(branch))
        return self.drop_path(branch) + x if self.residual else branch


class EntryFlow(nn.Module):
    """Two convolutions and three downsampling modules: 299x299 pixels to 728 maps of 19x19.

    Args:
        in_channels: Channels of the images.
        widths: Output channels of every stage.
        stem_strides: Strides of the two convolutions.
        residual: See DownsamplingModule.
        last_stride: Stride of the third module: 1 in a network of output stride 8.
        drop_paths: Stochastic depth of the three modules.
        separable: Arguments of every SeparableConvBN.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Widths,
        *,
        stem_strides: tuple[int, int],
        residual: bool,
        last_stride: int,
        drop_paths: list[float],
        separable: dict[str, Any],
    ) -> None:
        super().__init__()
        self.checkpointing = False
        numerics = separable["numerics"]
        self.conv1 = ConvBN(in_channels, widths.conv1, 3, stride=stem_strides[0], numerics=numerics)
        self.conv2 = ConvBN(
            widths.conv1, widths.conv2, 3, stride=stem_strides[1], numerics=numerics
        )
        common: dict[str, Any] = {"residual": residual, "separable": separable}
        self.module1 = DownsamplingModule(
            widths.conv2,
            widths.entry1,
            widths.entry1,
            leading_relu=False,
            stride=2,
            drop_path=drop_paths[0],
            **common,
        )
        self.module2 = DownsamplingModule(
            widths.entry1,
            widths.entry2,
            widths.entry2,
            leading_relu=True,
            stride=2,
            drop_path=drop_paths[1],
            **common,
        )
        self.module3 = DownsamplingModule(
            widths.entry2,
            widths.middle,
            widths.middle,
            leading_relu=True,
            stride=last_stride,
            drop_path=drop_paths[2],
            **common,
        )

    def stem(self, images: Tensor) -> Tensor:
        """Maps images (N, in_channels, H, W) to the maps after the two convolutions."""
        return F.relu(self.conv2(F.relu(self.conv1(images))))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, in_channels, H, W) to (N, widths.middle, H / 16, W / 16), about."""
        x = self.stem(images)
        for module in (self.module1, self.module2, self.module3):
            x = run_checkpointed(module, x, self.checkpointing)
        return x


class MiddleFlow(nn.Sequential):
    """The same module, eight times: ``middle_flow.0`` to ``middle_flow.7``."""

    checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, widths.middle, H, W) to the same shape."""
        for module in self:
            x = run_checkpointed(module, x, self.checkpointing)
        return x


class ExitFlow(nn.Module):
    """One downsampling module and two separable convolutions: 728 maps to 2,048 of 10x10.

    Args:
        widths: Output channels of every stage.
        residual: See DownsamplingModule.
        stride: Stride of the module: 1 in a dilated network.
        drop_path: Stochastic depth of the module.
        separable: Arguments of the module's SeparableConvBNs.
        last_separable: Arguments of the last two.
    """

    def __init__(
        self,
        widths: Widths,
        *,
        residual: bool,
        stride: int,
        drop_path: float,
        separable: dict[str, Any],
        last_separable: dict[str, Any],
    ) -> None:
        super().__init__()
        self.checkpointing = False
        self.module1 = DownsamplingModule(
            widths.middle,
            widths.middle,
            widths.exit,
            leading_relu=True,
            residual=residual,
            stride=stride,
            drop_path=drop_path,
            separable=separable,
        )
        self.separable1 = SeparableConvBN(widths.exit, widths.separable1, **last_separable)
        self.separable2 = SeparableConvBN(widths.separable1, widths.separable2, **last_separable)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, widths.middle, H, W) to (N, widths.separable2, H / 2, W / 2), rounded up."""
        x = run_checkpointed(self.module1, x, self.checkpointing)
        x = F.relu(run_checkpointed(self.separable1, x, self.checkpointing))
        return F.relu(run_checkpointed(self.separable2, x, self.checkpointing))
