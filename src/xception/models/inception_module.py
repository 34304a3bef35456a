"""Figures 1 to 4: from the Inception module to the separable convolution, step by step.

Figure 1 is a module as in Inception V3. Figure 2 simplifies it to branches of one shape. Figure 3
says the same with one large 1x1 convolution followed by convolutions on non-overlapping segments
of its output. Figure 4 takes as many segments as there are channels: an "extreme" Inception module,
which is a separable convolution with the two steps in the other order (section 1.2).

As in Inception, every convolution is followed by a ReLU. Deviation: the figures draw no BatchNorm;
here there is none either, but the convolutions have biases.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xception.models.validation import check_integer


class ConvReLU(nn.Module):
    """A SAME convolution with bias and a ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel, odd.
        groups: Segments of the channels that are treated apart.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, groups: int = 1
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=padding, groups=groups
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H, W)."""
        return F.relu(self.conv(x))


class Branch(nn.Module):
    """One branch of figure 2: a 1x1 convolution and a 3x3 one.

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels between the two.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pointwise = ConvReLU(in_channels, mid_channels, 1)
        self.spatial = ConvReLU(mid_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H, W)."""
        return self.spatial(self.pointwise(x))


class CanonicalInceptionModule(nn.Module):
    """Figure 1: 1x1; 1x1 and 3x3; 1x1 and twice 3x3; average pool and 1x1; concatenated.

    Args:
        in_channels: Channels of the input.
        branch_channels: Channels of every convolution; the output has four times as many.
    """

    def __init__(self, in_channels: int, branch_channels: int) -> None:
        super().__init__()
        c = check_integer("branch_channels", branch_channels)
        check_integer("in_channels", in_channels)
        self.branch1x1 = ConvReLU(in_channels, c, 1)
        self.branch3x3 = Branch(in_channels, c, c)
        self.branch3x3_double = nn.Sequential(Branch(in_channels, c, c), ConvReLU(c, c, 3))
        self.branch_pool = ConvReLU(in_channels, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, 4 * branch_channels, H, W)."""
        pooled = F.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)
        maps = [self.branch1x1(x), self.branch3x3(x), self.branch3x3_double(x)]
        return torch.cat([*maps, self.branch_pool(pooled)], 1)


class SimplifiedInceptionModule(nn.Module):
    """Figure 2: branches of one shape, a 1x1 convolution and a 3x3 one each, concatenated.

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels between the two convolutions of a branch.
        out_channels: Channels that a branch puts out.
        branches: How many; the figure has three.
    """

    def __init__(
        self, in_channels: int, mid_channels: int, out_channels: int, branches: int = 3
    ) -> None:
        super().__init__()
        check_integer("in_channels", in_channels)
        mid = check_integer("mid_channels", mid_channels)
        out = check_integer("out_channels", out_channels)
        self.branches = nn.ModuleList(
            Branch(in_channels, mid, out) for _ in range(check_integer("branches", branches))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, branches * out_channels, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class ReformulatedInceptionModule(nn.Module):
    """Figure 3: one large 1x1 convolution, then 3x3 convolutions on segments of its output.

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels of one segment.
        out_channels: Channels that one segment's convolution puts out.
        segments: How many; the figure has three.
    """

    def __init__(
        self, in_channels: int, mid_channels: int, out_channels: int, segments: int = 3
    ) -> None:
        super().__init__()
        check_integer("in_channels", in_channels)
        self.segments = check_integer("segments", segments)
        mid = check_integer("mid_channels", mid_channels) * segments
        out = check_integer("out_channels", out_channels) * segments
        self.pointwise = ConvReLU(in_channels, mid, 1)
        self.spatial = ConvReLU(mid, out, 3, groups=segments)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, segments * out_channels, H, W)."""
        return self.spatial(self.pointwise(x))


class ExtremeInceptionModule(nn.Module):
    """Figure 4: one spatial convolution for each output channel of the 1x1 convolution.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the 1x1 convolution and of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        check_integer("in_channels", in_channels)
        check_integer("out_channels", out_channels)
        self.pointwise = ConvReLU(in_channels, out_channels, 1)
        self.spatial = ConvReLU(out_channels, out_channels, 3, groups=out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H, W)."""
        return self.spatial(self.pointwise(x))


def reformulate(module: SimplifiedInceptionModule) -> ReformulatedInceptionModule:
    """Rewrites figure 2 as figure 3: the same function, with the weights laid side by side.

    Args:
        module: Any simplified module.

    Returns:
        A new module with copies of its weights.
    """
    first, second = _conv(module.branches[0], "pointwise"), _conv(module.branches[0], "spatial")
    result = ReformulatedInceptionModule(
        first.in_channels, first.out_channels, second.out_channels, len(module.branches)
    ).to(first.weight.device, first.weight.dtype)
    with torch.no_grad():
        for step in ("pointwise", "spatial"):
            sources = [_conv(branch, step) for branch in module.branches]
            target = _conv(result, step)
            target.weight.copy_(torch.cat([conv.weight for conv in sources]))
            _bias(target).copy_(torch.cat([_bias(conv) for conv in sources]))
    return result


def simplify(module: ReformulatedInceptionModule) -> SimplifiedInceptionModule:
    """Rewrites figure 3 as figure 2: the same function, with the weights cut into branches.

    Args:
        module: Any reformulated module.

    Returns:
        A new module with copies of its weights.
    """
    pointwise, spatial, segments = module.pointwise.conv, module.spatial.conv, module.segments
    result = SimplifiedInceptionModule(
        pointwise.in_channels,
        pointwise.out_channels // segments,
        spatial.out_channels // segments,
        segments,
    ).to(pointwise.weight.device, pointwise.weight.dtype)
    with torch.no_grad():
        for step in ("pointwise", "spatial"):
            source = _conv(module, step)
            weights, biases = source.weight.chunk(segments), _bias(source).chunk(segments)
            for branch, weight, bias in zip(result.branches, weights, biases, strict=True):
                _conv(branch, step).weight.copy_(weight)
                _bias(_conv(branch, step)).copy_(bias)
    return result


def _conv(module: nn.Module, step: str) -> nn.Conv2d:
    conv = module.get_submodule(f"{step}.conv")
    assert isinstance(conv, nn.Conv2d)
    return conv


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
