"""Kernel 6: a whole separable convolution in one kernel, where its output has few channels.

In the entry flow (figure 5) maps are large and channels few: moving the depthwise result to memory
and back costs more than computing it. The backward pass is that of the two kernels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from xception.kernels import reference
from xception.kernels.depthwise import _depthwise_backward
from xception.kernels.depthwise_launch import (
    Tap,
    channels_last_like,
    empty_tap,
    gradient_of_tap,
)
from xception.kernels.dispatch import given_or_zeros, runs_kernel
from xception.kernels.pointwise import _pointwise_backward
from xception.kernels.separable_launch import MAXIMUM_OUTPUTS, Results, launch_forward


def covers(outputs: int) -> bool:
    """Whether the kernel can hold this number of output channels."""
    return outputs <= MAXIMUM_OUTPUTS


def separable(
    z: Tensor,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    *,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    center: Tensor | None = None,
    relu: bool = True,
    tap: Tap = "none",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Separable convolution of ReLU(scale · z + shift), and the sums of its result.

    Args:
        z: (N, C_in, H, W) float32, float16 or bfloat16; read as channels_last.
        depthwise_weight: (C_in, 1, 3, 3) floating point; used in float32.
        pointwise_weight: (C_out, C_in, 1, 1), of z's type; C_out is at most 256.
        scale: See :func:`xception.kernels.depthwise.depthwise`.
        shift: See there.
        center: See :func:`xception.kernels.pointwise.pointwise`.
        relu: Whether a ReLU comes first.
        tap: See :func:`xception.kernels.depthwise.depthwise`; not ``"sum"``.

    Returns:
        The result (N, C_out, H, W) and its two sums, as from ``pointwise``, and the tap.
    """
    assert (scale is None) == (shift is None), "scale and shift go together"
    assert covers(pointwise_weight.shape[0])
    assert tap != "sum", "a sum needs the kernel that reads a residual"
    tensors = (z, scale, shift, depthwise_weight, pointwise_weight)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    empty = z.new_empty(0, dtype=torch.promote_types(z.dtype, torch.float32))
    centers, statistics = (empty, False) if center is None else (center, True)
    out, total, squares, tapped, _ = _separable(*tensors, centers, relu, tap, statistics, save)
    return out, total, squares, tapped


@custom_op("xception::separable", mutates_args=(), device_types="cuda")
def _separable(
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    center: Tensor,
    relu: bool,
    tap: str,
    statistics: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return launch_forward(
        z,
        scale,
        shift,
        depthwise_weight,
        pointwise_weight,
        center,
        relu,
        tap,
        statistics,
        save,
    )


@_separable.register_kernel("cpu")
def _separable_cpu(z: Tensor, *rest: Any) -> Results:
    return (launch_forward if runs_kernel(z) else reference.separable)(z, *rest)


@_separable.register_fake
def _separable_fake(
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    center: Tensor,
    relu: bool,
    tap: str,
    statistics: bool,
    save: bool,
) -> Results:
    size = (z.shape[0], pointwise_weight.shape[0], *z.shape[2:])
    out = torch.empty(size, dtype=z.dtype, device=z.device, memory_format=torch.channels_last)
    spatial = channels_last_like(z) if save else z.new_empty(0)
    return out, torch.empty_like(center), torch.empty_like(center), empty_tap(z, tap), spatial


def _save(ctx: Any, inputs: tuple[Any, ...], output: Results) -> None:
    z, scale, shift, depthwise_weight, pointwise_weight, center, *flags = inputs
    ctx.relu, ctx.tap, ctx.statistics, _ = flags
    out, _, _, _, spatial = output
    ctx.set_materialize_grads(False)
    ctx.outputs = out.shape
    ctx.save_for_backward(
        z,
        scale,
        shift,
        depthwise_weight,
        pointwise_weight,
        center,
        out if ctx.statistics else z.new_empty(0),
        spatial,
    )


def _backward(
    ctx: Any,
    grad: Tensor | None,
    grad_sum: Tensor | None,
    grad_squares: Tensor | None,
    grad_tap: Tensor | None,
    _: Tensor | None,
) -> tuple[Tensor | None, ...]:
    z, scale, shift, depthwise_weight, pointwise_weight, center, out, spatial = ctx.saved_tensors
    if grad is None:
        grad = z.new_zeros(ctx.outputs)
    sums = (given_or_zeros(grad_sum, center), given_or_zeros(grad_squares, center))
    grad_tap = gradient_of_tap(grad_tap, z, ctx.tap)
    grad_spatial, grad_pointwise = _pointwise_backward(
        grad, *sums, out, spatial, pointwise_weight, center, ctx.statistics
    )
    grad_z, _, grad_scale, grad_shift, grad_depthwise = _depthwise_backward(
        grad_spatial, grad_tap, z, scale, shift, None, depthwise_weight, ctx.relu, ctx.tap
    )
    return (
        grad_z,
        None if scale is None else grad_scale.to(scale.dtype),
        None if shift is None else grad_shift.to(shift.dtype),
        grad_depthwise,
        grad_pointwise,
        *[None] * 5,
    )


_separable.register_autograd(_backward, setup_context=_save)
