# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: BatchNorm and ReLU where the activation must be in memory: in front of the stem's conv2.

Rows are pixels, columns channels; both kernels read each value once and write it once.
"""

import triton
import triton.language as tl


@triton.jit
def rectified(value):
    """ReLU behind which a NaN stays one, as in torch: a run that diverges must not look sane."""
    return tl.maximum(value, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def activation_forward(
    z_ptr,
    scale_ptr,
    shift_ptr,
    out_ptr,
    M,
    C: tl.constexpr,
    RELU: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Computes ReLU(scale · z + shift). Grid: (ceil(M / BLOCK_M), ceil(C / BLOCK_C))."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask = (m < M)[:, None] & (c < C)[None, :]
    offset = m[:, None].to(tl.int64) * C + c[None, :]
    scale = tl.load(scale_ptr + c, mask=c < C, other=0.0)[None, :]
    shift = tl.load(shift_ptr + c, mask=c < C, other=0.0)[None, :]
    value = tl.load(z_ptr + offset, mask=mask, other=0.0).to(tl.float32) * scale + shift
    if RELU:
        value = rectified(value)
    tl.store(out_ptr + offset, value.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def activation_backward(
    grad_ptr,
    z_ptr,
    scale_ptr,
    shift_ptr,
    grad_z_ptr,
    partial_ptr,
    M,
    ROWS,
    C: tl.constexpr,
    RELU: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Gradient of z, and the partial sums of those of scale and shift.

    partial: (ceil(M / ROWS), 2, C) float32: sum(g·z) and sum(g), g behind the ReLU.
    Grid: (ceil(M / ROWS), ceil(C / BLOCK_C)).
    """
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    valid = c < C
    scale = tl.load(scale_ptr + c, mask=valid, other=0.0)[None, :]
    shift = tl.load(shift_ptr + c, mask=valid, other=0.0)[None, :]
    first = tl.program_id(0).to(tl.int64) * ROWS
    rows = tl.minimum(M - first, ROWS).to(tl.int32)
    sum_gz = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    sum_g = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for start in tl.range(0, ROWS, BLOCK_M, num_stages=3):
        row = start + tl.arange(0, BLOCK_M)
        mask = (row < rows)[:, None] & valid[None, :]
        offset = first * C + row[:, None] * C + c[None, :]
        grad = tl.load(grad_ptr + offset, mask=mask, other=0.0).to(tl.float32)
        z = tl.load(z_ptr + offset, mask=mask, other=0.0).to(tl.float32)
        if RELU:
            grad = tl.where(z * scale + shift <= 0.0, 0.0, grad)
        sum_gz += grad * z
        sum_g += grad
        tl.store(grad_z_ptr + offset, (grad * scale).to(grad_z_ptr.dtype.element_ty), mask=mask)
    partial = partial_ptr + tl.program_id(0).to(tl.int64) * 2 * C + c
    tl.store(partial, tl.sum(sum_gz, 0), mask=valid)
    tl.store(partial + C, tl.sum(sum_g, 0), mask=valid)
