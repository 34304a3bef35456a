"""BatchNorm's arithmetic on vectors of C numbers as operators: a launch each, not twenty.

A training step has 40 BatchNorms. In plain PyTorch their vectors are some 1,500 launches, of which
each takes a few microseconds, whatever its size: together a tenth of a step on a fast GPU. The same
in plain PyTorch, for everything else than eager mode on a GPU: :mod:`xception.kernels.batch_norm`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from xception.kernels.compilation import start
from xception.kernels.dispatch import as_given, given_or_zeros

Vectors = tuple[Tensor, Tensor, Tensor, Tensor]
BLOCK = 128  # channels of a program


def grid_of(channels: int) -> tuple[int]:
    """As many programs as blocks of channels."""
    return (-(-channels // BLOCK),)


@custom_op("xception::normalizer", mutates_args=())
@as_given
def normalizer(
    total: Tensor,
    squares: Tensor,
    center: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    count: int,
    eps: float,
    statistics: bool,
) -> Vectors:
    """A BatchNorm as scale · z + shift.

    Args:
        total: (C,) float32, sum of z - center; empty without statistics.
        squares: (C,) float32, sum of its square; empty without statistics.
        center: (C,) float32; empty without statistics.
        running_mean: (C,), is read without statistics.
        running_var: (C,), is read without statistics.
        weight: (C,) or None for 1.
        bias: (C,) or None for 0.
        count: Values of one channel.
        eps: Is added to the variance.
        statistics: Whether to normalise by the batch's statistics.

    Returns:
        scale and shift, mean and variance of the batch (empty without statistics); float32.
        Gradients flow through scale and shift into total, squares, weight and bias.
    """
    from xception.kernels.normalizer_triton import normalizer_forward

    source = center if statistics else running_mean
    assert source is not None
    scale, shift = (source.new_empty(source.shape, dtype=torch.float32) for _ in range(2))
    mean, variance = torch.empty_like(total), torch.empty_like(total)
    start(
        normalizer_forward,
        grid_of(len(scale)),
        total,
        squares,
        center,
        scale if running_mean is None else running_mean,
        scale if running_var is None else running_var,
        scale if weight is None else weight,
        scale if bias is None else bias,
        scale,
        shift,
        mean,
        variance,
        float(count),
        eps,
        C=len(scale),
        STATISTICS=statistics,
        WEIGHT=weight is not None,
        BIAS=bias is not None,
        BLOCK_C=BLOCK,
        num_warps=4,
    )
    return scale, shift, mean, variance


@normalizer.register_fake
def _normalizer_fake(
    total: Tensor,
    squares: Tensor,
    center: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    count: int,
    eps: float,
    statistics: bool,
) -> Vectors:
    source = center if statistics else running_mean
    assert source is not None
    scale = source.new_empty(source.shape, dtype=torch.float32)
    return scale, torch.empty_like(scale), torch.empty_like(total), torch.empty_like(total)


@custom_op("xception::normalizer_backward", mutates_args=())
@as_given
def _normalizer_backward(
    grad_scale: Tensor,
    grad_shift: Tensor,
    total: Tensor,
    squares: Tensor,
    center: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    count: int,
    eps: float,
    statistics: bool,
) -> Vectors:
    """Gradients of total, squares, weight and bias; empty where there is no input."""
    from xception.kernels.normalizer_triton import normalizer_backward

    none = grad_scale.new_empty(0)
    grad_total, grad_squares = torch.empty_like(total), torch.empty_like(squares)
    grad_weight = none if weight is None else torch.empty_like(weight)
    grad_bias = none.clone() if bias is None else torch.empty_like(bias)
    start(
        normalizer_backward,
        grid_of(len(grad_scale)),
        grad_scale.contiguous(),
        grad_shift.contiguous(),
        total,
        squares,
        center,
        grad_scale if running_mean is None else running_mean,
        grad_scale if running_var is None else running_var,
        grad_scale if weight is None else weight,
        grad_total,
        grad_squares,
        grad_weight,
        grad_bias,
        float(count),
        eps,
        C=len(grad_scale),
        STATISTICS=statistics,
        WEIGHT=weight is not None,
        BIAS=bias is not None,
        BLOCK_C=BLOCK,
        num_warps=4,
    )
    return grad_total, grad_squares, grad_weight, grad_bias


@_normalizer_backward.register_fake
def _normalizer_backward_fake(
    grad_scale: Tensor, grad_shift: Tensor, total: Tensor, squares: Tensor, *rest: Any
) -> Vectors:
    weight, bias = rest[3:5]
    none = grad_scale.new_empty(0)
    return (
        torch.empty_like(total),
        torch.empty_like(squares),
        none if weight is None else torch.empty_like(weight),
        torch.empty_like(none) if bias is None else torch.empty_like(bias),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Vectors) -> None:
    *tensors, ctx.count, ctx.eps, ctx.statistics = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[2:])
    if ctx.statistics:  # the running statistics are not read, and move before the backward pass
        tensors[3] = tensors[4] = None
    ctx.save_for_backward(*tensors)


def _backward(
    ctx: Any, grad_scale: Tensor | None, grad_shift: Tensor | None, *_: Any
) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors  # once: an activation checkpoint hands them out no second time
    _, _, center, running_mean, _, weight, bias = saved
    like = center if ctx.statistics else running_mean.float()
    grad_total, grad_squares, grad_weight, grad_bias = _normalizer_backward(
        given_or_zeros(grad_scale, like),
        given_or_zeros(grad_shift, like),
        *saved,
        ctx.count,
        ctx.eps,
        ctx.statistics,
    )
    sums = (grad_total, grad_squares) if ctx.statistics else (None, None)
    return (
        *sums,
        *[None] * 3,
        None if weight is None else grad_weight,
        None if bias is None else grad_bias,
        *[None] * 3,
    )


normalizer.register_autograd(_backward, setup_context=_save)


@custom_op("xception::move_running", mutates_args=("running_mean", "running_var", "batches"))
@as_given
def move_running(
    mean: Tensor,
    variance: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    count: int,
    momentum: float,
) -> None:
    """Moves running statistics towards the batch's, as torch does, and counts the batch.

    Args:
        mean: (C,) float32.
        variance: (C,) float32, the biased one, by which the batch is normalised.
        running_mean: (C,), moves.
        running_var: (C,), moves towards the unbiased variance.
        batches: () int64, grows by one.
        count: Values of one channel, at least 2.
        momentum: How far they move.
    """
    from xception.kernels import normalizer_triton

    start(
        normalizer_triton.move_running,
        grid_of(len(mean)),
        mean,
        variance,
        running_mean,
        running_var,
        batches,
        count / (count - 1),
        momentum,
        C=len(mean),
        BLOCK_C=BLOCK,
        num_warps=4,
    )
