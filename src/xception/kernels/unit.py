"""The fused unit: BatchNorm → (+ residual) → ReLU → separable convolution, without activations.

A unit reads the raw result of the unit before it, applies that unit's BatchNorm, the residual sum
and the ReLU on the way into the depthwise convolution, and leaves its own BatchNorm as two vectors
for the unit after it. What lies between two units is therefore a :class:`Pending` activation.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xception.kernels.activation import activation
from xception.kernels.batch_norm import center_of, scale_and_shift
from xception.kernels.convolution import convolution
from xception.kernels.depthwise import depthwise
from xception.kernels.depthwise_launch import Tap
from xception.kernels.pointwise import pointwise
from xception.kernels.separable import covers, separable

Norm = nn.BatchNorm2d | nn.SyncBatchNorm


class Pending(NamedTuple):
    """An activation that has not been computed: scale · z + shift + residual.

    Attributes:
        z: (N, C, H, W), channels_last.
        scale: (C,) float32, or None for 1.
        shift: (C,) float32, given exactly when scale is.
        residual: (N, C, H, W) like z, or None.
    """

    z: Tensor
    scale: Tensor | None = None
    shift: Tensor | None = None
    residual: Tensor | None = None

    def computed(self, relu: bool = False) -> Tensor:
        """The activation (N, C, H, W) of z's type; behind a ReLU if asked."""
        if self.scale is not None and self.shift is not None and self.residual is None:
            return activation(self.z, self.scale, self.shift, relu)
        value = self.z
        if self.scale is not None and self.shift is not None:
            value = value * self.scale.view(1, -1, 1, 1) + self.shift.view(1, -1, 1, 1)
        if self.residual is not None:
            value = value + self.residual
        return (F.relu(value) if relu else value).to(self.z.dtype)


def separable_unit(
    x: Pending,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    norm: Norm,
    *,
    relu: bool = True,
    tap: Tap = "none",
) -> tuple[Pending, Tensor]:
    """(ReLU →) separable convolution → BatchNorm of a pending activation.

    Args:
        x: The pending input (N, C_in, H, W).
        depthwise_weight: (C_in, 1, 3, 3).
        pointwise_weight: (C_out, C_in, 1, 1); used in the type of x, or of autocast.
        norm: The BatchNorm that follows; in training its running statistics move.
        relu: Whether a ReLU comes first.
        tap: What else is wanted of x, see :func:`xception.kernels.depthwise.depthwise`.

    Returns:
        The pending output (N, C_out, H, W), and the tap.
    """
    dtype = compute_dtype(x.z)
    z = x.z.to(dtype)
    if x.residual is None and covers(len(pointwise_weight)) and tap != "sum":
        center = center_of(norm, z)
        out, total, squares, tapped = separable(
            z,
            depthwise_weight,
            pointwise_weight.to(dtype),
            scale=x.scale,
            shift=x.shift,
            center=center,
            relu=relu,
            tap=tap,
        )
        return _normalized(out, total, squares, center, norm), tapped
    residual = None if x.residual is None else x.residual.to(dtype)
    spatial, tapped = depthwise(
        z,
        depthwise_weight,
        scale=x.scale,
        shift=x.shift,
        residual=residual,
        relu=relu,
        tap=tap,
    )
    return pointwise_norm(spatial, pointwise_weight, norm), tapped


def pointwise_norm(x: Tensor, weight: Tensor, norm: Norm) -> Pending:
    """1x1 convolution → BatchNorm, left pending.

    Args:
        x: (N, C_in, H, W).
        weight: (C_out, C_in, 1, 1).
        norm: The BatchNorm that follows.
    """
    center = center_of(norm, x)
    z, total, squares = pointwise(x, weight.to(x.dtype), center=center)
    return _normalized(z, total, squares, center, norm)


def convolution_norm(x: Tensor, convolution_layer: nn.Conv2d, norm: Norm) -> Pending:
    """Ordinary convolution → BatchNorm, left pending.

    Args:
        x: (N, C_in, H, W).
        convolution_layer: A square, ungrouped convolution without bias.
        norm: The BatchNorm that follows.
    """
    dtype = compute_dtype(x)
    center = center_of(norm, x)
    z, total, squares = convolution(
        x.to(dtype),
        convolution_layer.weight.to(dtype),
        stride=convolution_layer.stride[0],
        padding=int(convolution_layer.padding[0]),
        center=center,
    )
    return _normalized(z, total, squares, center, norm)


def compute_dtype(x: Tensor) -> torch.dtype:
    """The type in which convolutions compute: autocast's where it is on, else that of x.

    Autocast leaves float64 alone.
    """
    device = x.device.type
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)


def _normalized(
    z: Tensor, total: Tensor, squares: Tensor, center: Tensor | None, norm: Norm
) -> Pending:
    count = z.shape[0] * z.shape[2] * z.shape[3]
    return Pending(z, *scale_and_shift(norm, total, squares, center, count))
