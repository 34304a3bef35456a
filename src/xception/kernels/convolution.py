"""A library convolution that hands BatchNorm its sums: the stem's two 3x3 convolutions.

The convolution is cuDNN's. The sums are one pass over its result, and the backward pass joins the
gradient that reaches the result directly with the one through the sums.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import custom_op

from xception.kernels import reference
from xception.kernels.dispatch import (
    as_channels_last,
    as_given,
    given_or_zeros,
    images_of,
    rows_of,
    runs_kernel,
)
from xception.kernels.pointwise_backward_launch import combine
from xception.kernels.pointwise_launch import column_sums


def convolution(
    x: Tensor, weight: Tensor, *, stride: int, padding: int, center: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """2-D convolution without bias, and the sums of its result for BatchNorm.

    Args:
        x: (N, C_in, H, W) floating point.
        weight: (C_out, C_in, k, k), of x's type.
        stride: Stride of both axes.
        padding: Zeros added on every side.
        center: (C_out,) float32, see :func:`xception.kernels.pointwise.pointwise`. None: no sums.

    Returns:
        z (N, C_out, H', W'), channels_last, and the sum of z - center and of its square, (C_out,)
        float32 each (empty without a center). Gradients flow through all three.
    """
    empty = x.new_empty(0, dtype=torch.promote_types(x.dtype, torch.float32))
    z, total, squares = _convolution(
        x, weight, empty if center is None else center, center is not None, stride, padding
    )
    return z, total, squares


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions of float32 without TF32, which PyTorch allows cuDNN unless it is told not to."""
    settings = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = settings.fp32_precision
    if before != "tf32":
        yield
        return
    settings.fp32_precision = "ieee"
    try:
        yield
    finally:
        settings.fp32_precision = before


@custom_op("xception::convolution", mutates_args=())
def _convolution(
    x: Tensor, weight: Tensor, center: Tensor, statistics: bool, stride: int, padding: int
) -> tuple[Tensor, Tensor, Tensor]:
    run = _with_sums if runs_kernel(x) else reference.convolution
    return run(x, weight, center, statistics, stride, padding)


@as_given
def _with_sums(
    x: Tensor, weight: Tensor, center: Tensor, statistics: bool, stride: int, padding: int
) -> tuple[Tensor, Tensor, Tensor]:
    with full_precision():
        z = as_channels_last(F.conv2d(as_channels_last(x), weight, None, stride, padding))
    if not statistics:
        return z, torch.empty_like(center), torch.empty_like(center)
    return z, *column_sums(rows_of(z), center)


@_convolution.register_fake
def _convolution_fake(
    x: Tensor, weight: Tensor, center: Tensor, statistics: bool, stride: int, padding: int
) -> tuple[Tensor, Tensor, Tensor]:
    kernel = weight.shape[2]
    height, width = ((n + 2 * padding - kernel) // stride + 1 for n in x.shape[2:])
    size = (x.shape[0], weight.shape[0], height, width)
    z = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    return z, torch.empty_like(center), torch.empty_like(center)


@custom_op("xception::convolution_backward", mutates_args=())
def _convolution_backward(
    grad: Tensor,
    grad_sum: Tensor,
    grad_squares: Tensor,
    z: Tensor,
    x: Tensor,
    weight: Tensor,
    center: Tensor,
    statistics: bool,
    stride: int,
    padding: int,
    needs_x: bool,
) -> tuple[Tensor, Tensor]:
    sums = (center, grad_sum.contiguous(), grad_squares.contiguous())
    return _gradients(grad, z, x, weight, sums if statistics else None, stride, padding, needs_x)


@as_given
def _gradients(
    grad: Tensor,
    z: Tensor,
    x: Tensor,
    weight: Tensor,
    sums: tuple[Tensor, Tensor, Tensor] | None,
    stride: int,
    padding: int,
    needs_x: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of x (empty unless needed) and weight; ``sums``: center and the sums' gradients."""
    grad = as_channels_last(grad.to(x.dtype))
    if sums is None:
        pass
    elif runs_kernel(grad):
        rows = combine(rows_of(grad), rows_of(z), *sums)
        grad = images_of(rows, z.shape[0], z.shape[2], z.shape[3])
    else:
        grad = reference.combine(grad, z, *sums)
    x = as_channels_last(x)
    with full_precision():
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad,
            x,
            weight,
            None,
            [stride] * 2,
            [padding] * 2,
            [1, 1],
            False,
            [0, 0],
            1,
            [needs_x, True, False],
        )
    return as_channels_last(grad_x) if needs_x else x.new_empty(0), grad_weight.contiguous()


@_convolution_backward.register_fake
def _convolution_backward_fake(
    grad: Tensor,
    grad_sum: Tensor,
    grad_squares: Tensor,
    z: Tensor,
    x: Tensor,
    weight: Tensor,
    center: Tensor,
    statistics: bool,
    stride: int,
    padding: int,
    needs_x: bool,
) -> tuple[Tensor, Tensor]:
    grad_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
    if not needs_x:
        return x.new_empty(0), grad_weight
    return torch.empty_like(x, memory_format=torch.channels_last), grad_weight


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, center, ctx.statistics, *ctx.geometry = inputs
    ctx.set_materialize_grads(False)
    ctx.outputs = output[0].shape
    # Without statistics the backward pass does not read z.
    ctx.save_for_backward(x, weight, center, output[0] if ctx.statistics else x.new_empty(0))


def _backward(
    ctx: Any, grad: Tensor | None, grad_sum: Tensor | None, grad_squares: Tensor | None
) -> tuple[Tensor | None, ...]:
    x, weight, center, z = ctx.saved_tensors
    needs_x = ctx.needs_input_grad[0]
    if grad is None:
        grad = x.new_zeros(ctx.outputs)
    sums = (given_or_zeros(grad_sum, center), given_or_zeros(grad_squares, center))
    grad_x, grad_weight = _convolution_backward(
        grad, *sums, z, x, weight, center, ctx.statistics, *ctx.geometry, needs_x
    )
    return grad_x if needs_x else None, grad_weight, None, None, None, None


_convolution.register_autograd(_backward, setup_context=_save)
