"""Kernel 3: pointwise convolution that hands BatchNorm its sums.

The 1x1 convolution that ends a separable convolution is a matrix product over all pixels. In
training, BatchNorm follows (figure 5) and would read the whole result to find mean and variance of
every channel; here the product sums its columns while it writes them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from xception.kernels import reference
from xception.kernels.dispatch import given_or_zeros, runs_kernel
from xception.kernels.pointwise_backward_launch import launch_backward
from xception.kernels.pointwise_launch import launch_forward


def pointwise(
    x: Tensor, weight: Tensor, *, center: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """1x1 convolution without bias, and the sums of its result for BatchNorm.

    Args:
        x: (N, C_in, H, W) float32, float16 or bfloat16; read as channels_last.
        weight: (C_out, C_in, 1, 1), of x's type.
        center: (C_out,) float32: the sums are taken of z - center, so that mean and variance do
            not cancel; the running mean is a good one. It gets no gradient. None: no sums.

    Returns:
        z (N, C_out, H, W), channels_last, of x's type; the sum over N, H, W of z - center and of
        its square, (C_out,) float32 each (empty without a center). Gradients flow through all
        three into x and weight.
    """
    empty = x.new_empty(0, dtype=torch.promote_types(x.dtype, torch.float32))
    z, total, squares = _pointwise(
        x, weight, empty if center is None else center, center is not None
    )
    return z, total, squares


@custom_op("xception::pointwise", mutates_args=(), device_types="cuda")
def _pointwise(
    x: Tensor, weight: Tensor, center: Tensor, statistics: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return launch_forward(x, weight, center, statistics)


@_pointwise.register_kernel("cpu")
def _pointwise_cpu(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return (launch_forward if runs_kernel(x) else reference.pointwise)(x, *rest)


@_pointwise.register_fake
def _pointwise_fake(
    x: Tensor, weight: Tensor, center: Tensor, statistics: bool
) -> tuple[Tensor, Tensor, Tensor]:
    size = (x.shape[0], weight.shape[0], *x.shape[2:])
    z = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    return z, torch.empty_like(center), torch.empty_like(center)


@custom_op("xception::pointwise_backward", mutates_args=(), device_types="cuda")
def _pointwise_backward(
    grad: Tensor,
    grad_sum: Tensor,
    grad_squares: Tensor,
    z: Tensor,
    x: Tensor,
    weight: Tensor,
    center: Tensor,
    statistics: bool,
) -> tuple[Tensor, Tensor]:
    return launch_backward(grad, grad_sum, grad_squares, z, x, weight, center, statistics)


@_pointwise_backward.register_kernel("cpu")
def _pointwise_backward_cpu(grad: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return (launch_backward if runs_kernel(grad) else reference.pointwise_backward)(grad, *rest)


@_pointwise_backward.register_fake
def _pointwise_backward_fake(
    grad: Tensor,
    grad_sum: Tensor,
    grad_squares: Tensor,
    z: Tensor,
    x: Tensor,
    weight: Tensor,
    center: Tensor,
    statistics: bool,
) -> tuple[Tensor, Tensor]:
    grad_x = torch.empty_like(x, memory_format=torch.channels_last)
    return grad_x, torch.empty_like(weight, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, center, ctx.statistics = inputs
    ctx.set_materialize_grads(False)
    ctx.outputs = output[0].shape
    # Without statistics the backward pass does not read z.
    ctx.save_for_backward(x, weight, center, output[0] if ctx.statistics else x.new_empty(0))


def _backward(
    ctx: Any, grad: Tensor | None, grad_sum: Tensor | None, grad_squares: Tensor | None
) -> tuple[Tensor | None, ...]:
    x, weight, center, z = ctx.saved_tensors
    if grad is None:
        grad = x.new_zeros(ctx.outputs)
    sums = (given_or_zeros(grad_sum, center), given_or_zeros(grad_squares, center))
    grad_x, grad_weight = _pointwise_backward(grad, *sums, z, x, weight, center, ctx.statistics)
    return grad_x, grad_weight, None, None


_pointwise.register_autograd(_backward, setup_context=_save)
