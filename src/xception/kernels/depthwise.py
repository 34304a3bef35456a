"""Kernels 1 and 2: ReLU(scale · z + shift + residual) → depthwise 3x3, forward and backward.

A separable convolution of the paper reads the ReLU of a BatchNorm (figure 5). As its BatchNorm's
mean and variance are vectors of C numbers, the normalisation, the residual sum and the ReLU can be
computed by the depthwise convolution while it reads: the activation never goes to memory.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from xception.kernels import reference
from xception.kernels.depthwise_launch import (
    Gradients,
    Tap,
    channels_last_like,
    empty_tap,
    gradient_of_tap,
    launch_backward,
    launch_forward,
)
from xception.kernels.dispatch import given_or_zeros, runs_kernel


def depthwise(
    z: Tensor,
    weight: Tensor,
    *,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    residual: Tensor | None = None,
    relu: bool = True,
    tap: Tap = "none",
) -> tuple[Tensor, Tensor]:
    """Depthwise 3x3 convolution, stride 1, zero padding 1, of an activation computed on the way.

    Args:
        z: (N, C, H, W) float32, float16 or bfloat16; read as channels_last.
        weight: (C, 1, 3, 3) floating point; used in float32.
        scale: (C,) float32, multiplies z; None for 1.
        shift: (C,) float32, given exactly when scale is.
        residual: (N, C, H, W) like z, is added in front of the ReLU.
        relu: Whether a ReLU follows the sum.
        tap: What else is wanted of the values on the way: ``"sum"``, the sum in front of the ReLU
            (N, C, H, W), for the next residual connection; ``"strided"``, its every second row and
            column (N, C, ceil(H/2), ceil(W/2)), for a 1x1 stride-2 shortcut; ``"strided-relu"``,
            the same behind the ReLU; or ``"none"``.

    Returns:
        The convolution (N, C, H, W), channels_last, of z's type, and the tap (empty for
        ``"none"``). Gradients flow through both, into z, weight, scale, shift and residual.
    """
    assert (scale is None) == (shift is None), "scale and shift go together"
    out, tapped = _depthwise(z, scale, shift, residual, weight, relu, tap)
    return out, tapped


@custom_op("xception::depthwise", mutates_args=(), device_types="cuda")
def _depthwise(
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    weight: Tensor,
    relu: bool,
    tap: str,
) -> tuple[Tensor, Tensor]:
    return launch_forward(z, scale, shift, residual, weight, relu, tap)


@_depthwise.register_kernel("cpu")
def _depthwise_cpu(z: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    run = launch_forward if runs_kernel(z) else reference.depthwise
    return run(z, *rest)


@_depthwise.register_fake
def _depthwise_fake(
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    weight: Tensor,
    relu: bool,
    tap: str,
) -> tuple[Tensor, Tensor]:
    return channels_last_like(z), empty_tap(z, tap)


@custom_op("xception::depthwise_backward", mutates_args=(), device_types="cuda")
def _depthwise_backward(
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
    return launch_backward(grad_out, grad_tap, z, scale, shift, residual, weight, relu, tap)


@_depthwise_backward.register_kernel("cpu")
def _depthwise_backward_cpu(grad_out: Tensor, grad_tap: Tensor, z: Tensor, *rest: Any) -> Gradients:
    run = launch_backward if runs_kernel(z) else reference.depthwise_backward
    return run(grad_out, grad_tap, z, *rest)


@_depthwise_backward.register_fake
def _depthwise_backward_fake(
    grad_out: Tensor,
    grad_tap: Tensor,
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    weight: Tensor,
    relu: bool,
    tap: str,
) -> Gradients:
    wide = torch.promote_types(z.dtype, torch.float32)
    vector = z.new_empty(0 if scale is None else z.shape[1], dtype=wide)
    grad_residual = z.new_empty(0) if residual is None else channels_last_like(z)
    grad_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
    return (
        channels_last_like(z),
        grad_residual,
        vector,
        torch.empty_like(vector),
        grad_weight,
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    z, scale, shift, residual, weight, ctx.relu, ctx.tap = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(z, scale, shift, residual, weight)


def _backward(
    ctx: Any, grad_out: Tensor | None, grad_tap: Tensor | None
) -> tuple[Tensor | None, ...]:
    z, scale, shift, residual, weight = ctx.saved_tensors
    grad_out = given_or_zeros(grad_out, z)
    grad_tap = gradient_of_tap(grad_tap, z, ctx.tap)
    grad_z, grad_residual, grad_scale, grad_shift, grad_weight = _depthwise_backward(
        grad_out, grad_tap, z, scale, shift, residual, weight, ctx.relu, ctx.tap
    )
    return (
        grad_z,
        None if scale is None else grad_scale.to(scale.dtype),
        None if shift is None else grad_shift.to(shift.dtype),
        None if residual is None else grad_residual,
        grad_weight,
        None,
        None,
    )


_depthwise.register_autograd(_backward, setup_context=_save)
