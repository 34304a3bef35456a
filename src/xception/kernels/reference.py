"""The fused operators in plain PyTorch: what the kernels compute, line by line.

They run on CPU tensors, and the tests hold the kernels against them. Half precision is computed in
float32 and rounded once at the end, as the kernels do; float64 stays float64.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from xception.kernels.dispatch import as_channels_last

# The functions that stand in for kernels; tests make them raise to prove that a kernel ran.
OPERATORS = ("depthwise", "depthwise_backward", "pointwise", "pointwise_backward")


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _per_channel(vector: Tensor, dtype: torch.dtype) -> Tensor:
    return vector.to(dtype).view(1, -1, 1, 1)


def depthwise(
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    weight: Tensor,
    relu: bool,
    tap: str,
) -> tuple[Tensor, Tensor]:
    """Convolution and tap, as described in :func:`xception.kernels.depthwise.depthwise`."""
    wide = _wide(z.dtype)
    before = _normalized(z, scale, shift, residual, wide)
    activation = F.relu(before) if relu else before
    out = F.conv2d(activation, weight.to(wide), padding=1, groups=z.shape[1])
    tapped = {
        "none": z.new_empty(0),
        "sum": before,
        "strided": before[:, :, ::2, ::2],
        "strided-relu": activation[:, :, ::2, ::2],
    }[tap]
    if tap != "none":
        # clone: an operator's result must not share memory with its arguments
        tapped = tapped.to(z.dtype).clone(memory_format=torch.channels_last)
    return as_channels_last(out.to(z.dtype)), tapped


def depthwise_backward(
    grad_out: Tensor,
    grad_tap: Tensor,
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    weight: Tensor,
    relu: bool,
    tap: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of z, residual, scale, shift and weight; empty tensors where there is no input."""
    wide = _wide(z.dtype)
    channels = z.shape[1]
    before = _normalized(z, scale, shift, residual, wide)
    activation = F.relu(before) if relu else before
    grad, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad_out.to(wide),
        activation,
        weight.to(wide),
        None,
        [1, 1],
        [1, 1],
        [1, 1],
        False,
        [0, 0],
        channels,
        [True, True, False],
    )
    if tap == "strided-relu":
        grad = grad.clone()
        grad[:, :, ::2, ::2] += grad_tap.to(wide)
    if relu:
        grad = grad * (before > 0)
    if tap == "strided":
        grad = grad.clone()
        grad[:, :, ::2, ::2] += grad_tap.to(wide)
    if tap == "sum":
        grad = grad + grad_tap.to(wide)
    empty = z.new_empty(0)
    grad_residual = empty if residual is None else as_channels_last(grad.to(z.dtype).clone())
    grad_scale = grad_shift = z.new_empty(0, dtype=wide)
    grad_z = grad
    if scale is not None:
        grad_scale = (grad * z.to(wide)).sum((0, 2, 3))
        grad_shift = grad.sum((0, 2, 3))
        grad_z = grad * _per_channel(scale, wide)
    grad_z = as_channels_last(grad_z.to(z.dtype))
    return grad_z, grad_residual, grad_scale, grad_shift, grad_weight.to(weight.dtype)


def pointwise(
    x: Tensor, weight: Tensor, center: Tensor, statistics: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The product and its sums, as described in :func:`xception.kernels.pointwise.pointwise`."""
    wide = _wide(x.dtype)
    z = as_channels_last(F.conv2d(x.to(wide), weight.to(wide)).to(x.dtype))
    if not statistics:
        return z, torch.empty_like(center), torch.empty_like(center)
    centered = z.to(wide) - _per_channel(center, wide)
    return z, centered.sum((0, 2, 3)), centered.square().sum((0, 2, 3))


def pointwise_backward(
    grad: Tensor,
    grad_sum: Tensor,
    grad_squares: Tensor,
    z: Tensor,
    x: Tensor,
    weight: Tensor,
    center: Tensor,
    statistics: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight, from those of the product and of its sums."""
    wide = _wide(x.dtype)
    grad = grad.to(wide)
    if statistics:
        centered = z.to(wide) - _per_channel(center, wide)
        grad = grad + _per_channel(grad_sum, wide)
        grad = grad + 2 * centered * _per_channel(grad_squares, wide)
    grad_x = torch.einsum("nohw,oi->nihw", grad, weight.to(wide)[:, :, 0, 0])
    grad_weight = torch.einsum("nohw,nihw->oi", grad, x.to(wide))
    return as_channels_last(grad_x.to(x.dtype)), grad_weight.reshape(weight.shape).to(weight.dtype)


def _normalized(
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    wide: torch.dtype,
) -> Tensor:
    """The sum scale · z + shift + residual, leaving out what is None."""
    before = z.to(wide)
    if scale is not None and shift is not None:
        before = before * _per_channel(scale, wide) + _per_channel(shift, wide)
    if residual is not None:
        before = before + residual.to(wide)
    return before
