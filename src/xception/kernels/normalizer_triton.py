# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: BatchNorm's arithmetic on vectors of C numbers, one launch each way instead of twenty."""

import triton
import triton.language as tl

from xception.kernels.activation_triton import rectified


@triton.jit
def load_vector(pointer, c, C: tl.constexpr):
    """A block of channels in float32."""
    return tl.load(pointer + c, mask=c < C, other=0.0).to(tl.float32)


@triton.jit
def moments(total_ptr, squares_ptr, center_ptr, c, count, C: tl.constexpr):
    """Offset of the mean from the centre, mean, and the variance before it is held above zero."""
    offset = load_vector(total_ptr, c, C) / count
    mean = load_vector(center_ptr, c, C) + offset
    return offset, mean, load_vector(squares_ptr, c, C) / count - offset * offset


@triton.jit
def normalizer_forward(
    total_ptr,
    squares_ptr,
    center_ptr,
    running_mean_ptr,
    running_var_ptr,
    weight_ptr,
    bias_ptr,
    scale_ptr,
    shift_ptr,
    mean_ptr,
    variance_ptr,
    count,
    eps,
    C: tl.constexpr,
    STATISTICS: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The layer as scale · z + shift. Grid: (ceil(C / BLOCK_C),)."""
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    if STATISTICS:
        _, mean, variance = moments(total_ptr, squares_ptr, center_ptr, c, count, C)
        variance = rectified(variance)
        tl.store(mean_ptr + c, mean, mask=c < C)
        tl.store(variance_ptr + c, variance, mask=c < C)
    else:
        mean = load_vector(running_mean_ptr, c, C)
        variance = load_vector(running_var_ptr, c, C)
    scale = 1.0 / tl.sqrt_rn(variance + eps)
    if WEIGHT:
        scale *= load_vector(weight_ptr, c, C)
    shift = -mean * scale
    if BIAS:
        shift += load_vector(bias_ptr, c, C)
    tl.store(scale_ptr + c, scale, mask=c < C)
    tl.store(shift_ptr + c, shift, mask=c < C)


@triton.jit
def normalizer_backward(
    grad_scale_ptr,
    grad_shift_ptr,
    total_ptr,
    squares_ptr,
    center_ptr,
    running_mean_ptr,
    running_var_ptr,
    weight_ptr,
    grad_total_ptr,
    grad_squares_ptr,
    grad_weight_ptr,
    grad_bias_ptr,
    count,
    eps,
    C: tl.constexpr,
    STATISTICS: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Gradients of the sums, the weight and the bias. Grid: (ceil(C / BLOCK_C),)."""
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    valid = c < C
    grad_scale = load_vector(grad_scale_ptr, c, C)
    grad_shift = load_vector(grad_shift_ptr, c, C)
    if STATISTICS:
        offset, mean, variance = moments(total_ptr, squares_ptr, center_ptr, c, count, C)
    else:
        mean = load_vector(running_mean_ptr, c, C)
        variance = load_vector(running_var_ptr, c, C)
    positive = variance >= 0.0  # where it is held at zero, it does not move
    inverse = 1.0 / tl.sqrt_rn(rectified(variance) + eps)
    grad_scale -= mean * grad_shift  # shift = bias - mean · scale
    if WEIGHT:
        weight = load_vector(weight_ptr, c, C)
        grad_weight = grad_scale * inverse
        tl.store(grad_weight_ptr + c, grad_weight.to(grad_weight_ptr.dtype.element_ty), mask=valid)
    else:
        weight = 1.0
    if BIAS:
        tl.store(grad_bias_ptr + c, grad_shift.to(grad_bias_ptr.dtype.element_ty), mask=valid)
    if STATISTICS:
        grad_mean = -weight * inverse * grad_shift
        grad_variance = -0.5 * inverse * inverse * inverse * weight * grad_scale
        grad_variance = tl.where(positive, grad_variance, 0.0)
        grad_offset = grad_mean - 2.0 * offset * grad_variance
        tl.store(grad_total_ptr + c, grad_offset / count, mask=valid)
        tl.store(grad_squares_ptr + c, grad_variance / count, mask=valid)


@triton.jit
def move_running(
    mean_ptr,
    variance_ptr,
    running_mean_ptr,
    running_var_ptr,
    batches_ptr,
    unbiased,
    momentum,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Moves the running statistics and counts the batch. Grid: (ceil(C / BLOCK_C),)."""
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    mean = load_vector(running_mean_ptr, c, C)
    mean += momentum * (load_vector(mean_ptr, c, C) - mean)
    tl.store(running_mean_ptr + c, mean.to(running_mean_ptr.dtype.element_ty), mask=c < C)
    variance = load_vector(running_var_ptr, c, C)
    variance += momentum * (unbiased * load_vector(variance_ptr, c, C) - variance)
    tl.store(running_var_ptr + c, variance.to(running_var_ptr.dtype.element_ty), mask=c < C)
    if tl.program_id(0) == 0:
        tl.store(batches_ptr, tl.load(batches_ptr) + 1)
