# mypy: disable-error-code="no-untyped-def,assignment"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: the whole backward pass of the fused depthwise convolution in one sweep.

One pass over the output gradient (with a halo) and the input (without) gives the input gradient
behind ReLU and BatchNorm, the filter gradient and the gradients of BatchNorm's scale and shift. As
in the forward pass a thread slides down a strip of columns, with three rows of the output gradient
in registers. The sums stay there over all rows and strips of a program; each program writes one row
of float32 partial sums, which are added up afterwards: no atomics, the same bits on every run.
"""

import triton
import triton.language as tl

from xception.kernels.activation_triton import rectified
from xception.kernels.depthwise_triton import (
    NO_TAP,
    STRIDED_RELU,
    SUM,
    load_filter,
    strips_of,
)


@triton.jit
def load_strip(pointer, mask, left_in, right_in, COLUMNS: tl.constexpr, C: tl.constexpr):
    """A row of a strip with a column more on either side, in float32, zero where masked."""
    row = ()
    for j in tl.static_range(COLUMNS + 2):
        inside = mask
        if j == 0:
            inside = mask & left_in
        if j == COLUMNS + 1:
            inside = mask & right_in
        value = tl.load(pointer + (j - 1) * C, mask=inside, other=0.0)
        row += (value.to(tl.float32),)
    return row


@triton.jit
def depthwise_backward(
    grad_out_ptr,
    grad_tap_ptr,
    z_ptr,
    scale_ptr,
    shift_ptr,
    residual_ptr,
    weight_ptr,
    grad_z_ptr,
    grad_residual_ptr,
    partial_ptr,
    N,
    H,
    W,
    ROWS,
    REPEAT,
    C: tl.constexpr,
    AFFINE: tl.constexpr,
    RESIDUAL: tl.constexpr,
    RELU: tl.constexpr,
    TAP: tl.constexpr,
    OVERLAP: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Grid: (ceil(N·ceil(W / COLUMNS) / (BLOCK_S·REPEAT))·ceil(C / BLOCK_C), ceil(H / ROWS)).

    partial: (programs of a block of channels, 9 or with AFFINE 11, C) float32: nine filter taps,
    then sum(g·z) and sum(g), where g is the gradient of the sum in front of the ReLU.
    """
    blocks: tl.constexpr = (C + BLOCK_C - 1) // BLOCK_C
    c = (tl.program_id(0) % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    channels = c < C
    first = tl.program_id(1) * ROWS
    last = tl.minimum(first + ROWS, H)
    half_width = (W + 1) // 2

    k00 = load_filter(weight_ptr, c, 0, channels)
    k01 = load_filter(weight_ptr, c, 1, channels)
    k02 = load_filter(weight_ptr, c, 2, channels)
    k10 = load_filter(weight_ptr, c, 3, channels)
    k11 = load_filter(weight_ptr, c, 4, channels)
    k12 = load_filter(weight_ptr, c, 5, channels)
    k20 = load_filter(weight_ptr, c, 6, channels)
    k21 = load_filter(weight_ptr, c, 7, channels)
    k22 = load_filter(weight_ptr, c, 8, channels)
    if AFFINE:
        scale = tl.load(scale_ptr + c, mask=channels, other=0.0)[None, :]
        shift = tl.load(shift_ptr + c, mask=channels, other=0.0)[None, :]

    zeros = tl.zeros((BLOCK_S, BLOCK_C), tl.float32)
    s00 = zeros
    s01 = zeros
    s02 = zeros
    s10 = zeros
    s11 = zeros
    s12 = zeros
    s20 = zeros
    s21 = zeros
    s22 = zeros
    sum_gz = zeros
    sum_g = zeros

    for repeat in range(REPEAT):
        block = (tl.program_id(0) // blocks) * REPEAT + repeat
        image, pixel, w, own = strips_of(block, H, W, COLUMNS, BLOCK_S)
        mask = (image < N)[:, None] & channels[None, :]
        left_in = (w > 0)[:, None]
        right_in = (w + COLUMNS < W)[:, None]
        here = (pixel + first * W + w)[:, None] * C + c[None, :]
        grad_row = grad_out_ptr + here
        z_row = z_ptr + here
        residual_row = residual_ptr + here
        grad_z_row = grad_z_ptr + here
        grad_residual_row = grad_residual_ptr + here
        grad_tap_row = grad_tap_ptr + here
        half_image = image.to(tl.int64) * ((H + 1) // 2) * half_width

        # Rows h - 1 (above) and h (middle) of the output gradient; row h + 1 is loaded.
        top = (first + tl.zeros((BLOCK_S,), tl.int32) > 0)[:, None] & mask
        above = load_strip(grad_row - W * C, top, left_in, right_in, COLUMNS, C)
        middle = load_strip(grad_row, mask, left_in, right_in, COLUMNS, C)
        for h in range(first, last):
            row = h + tl.zeros((BLOCK_S,), tl.int32)  # a block, so that the masks are block masks
            grad_row += W * C
            lower = (row + 1 < H)[:, None] & mask
            below = load_strip(grad_row, lower, left_in, right_in, COLUMNS, C)
            for j in tl.static_range(COLUMNS):
                mine = mask
                if j < OVERLAP:
                    mine = mask & (w + j >= own)[:, None]
                z = tl.load(z_row + j * C, mask=mine, other=0.0).to(tl.float32)
                before = z
                if AFFINE:
                    before = z * scale + shift
                if RESIDUAL:
                    more = tl.load(residual_row + j * C, mask=mine, other=0.0)
                    before += more.to(tl.float32)
                activation = before
                if RELU:
                    activation = rectified(before)
                if j < OVERLAP:
                    activation = tl.where(mine, activation, 0.0)

                # One chain of sums each: a sum of sums would need more instructions.
                grad = below[j + 2] * k00 + below[j + 1] * k01 + below[j] * k02
                grad = grad + middle[j + 2] * k10 + middle[j + 1] * k11 + middle[j] * k12
                grad = grad + above[j + 2] * k20 + above[j + 1] * k21 + above[j] * k22
                s00 += activation * below[j + 2]
                s01 += activation * below[j + 1]
                s02 += activation * below[j]
                s10 += activation * middle[j + 2]
                s11 += activation * middle[j + 1]
                s12 += activation * middle[j]
                s20 += activation * above[j + 2]
                s21 += activation * above[j + 1]
                s22 += activation * above[j]

                if TAP != NO_TAP and TAP != SUM:
                    column = w + j
                    even = mine & ((row % 2 == 0) & (column % 2 == 0))[:, None]
                    half = half_image + (row // 2) * half_width + column // 2
                    half_ptr = grad_tap_ptr + half[:, None] * C + c[None, :]
                    tapped = tl.load(half_ptr, mask=even, other=0.0).to(tl.float32)
                elif TAP == SUM:
                    tapped = tl.load(grad_tap_row + j * C, mask=mine, other=0.0).to(tl.float32)
                if TAP == STRIDED_RELU:
                    grad += tapped
                if RELU:
                    grad = tl.where(before <= 0.0, 0.0, grad)
                if TAP != NO_TAP and TAP != STRIDED_RELU:
                    grad += tapped
                if j < OVERLAP:
                    grad = tl.where(mine, grad, 0.0)
                if RESIDUAL:
                    grad_residual = grad.to(grad_residual_ptr.dtype.element_ty)
                    tl.store(grad_residual_row + j * C, grad_residual, mask=mine)
                if AFFINE:
                    sum_gz += grad * z
                    sum_g += grad
                    grad = grad * scale
                tl.store(grad_z_row + j * C, grad.to(grad_z_ptr.dtype.element_ty), mask=mine)

            above = middle
            middle = below
            z_row += W * C
            residual_row += W * C
            grad_z_row += W * C
            grad_residual_row += W * C
            grad_tap_row += W * C

    program = (tl.program_id(0) // blocks) * tl.num_programs(1) + tl.program_id(1)
    partial = partial_ptr + program.to(tl.int64) * (11 if AFFINE else 9) * C + c
    tl.store(partial + 0 * C, tl.sum(s00, 0), mask=channels)
    tl.store(partial + 1 * C, tl.sum(s01, 0), mask=channels)
    tl.store(partial + 2 * C, tl.sum(s02, 0), mask=channels)
    tl.store(partial + 3 * C, tl.sum(s10, 0), mask=channels)
    tl.store(partial + 4 * C, tl.sum(s11, 0), mask=channels)
    tl.store(partial + 5 * C, tl.sum(s12, 0), mask=channels)
    tl.store(partial + 6 * C, tl.sum(s20, 0), mask=channels)
    tl.store(partial + 7 * C, tl.sum(s21, 0), mask=channels)
    tl.store(partial + 8 * C, tl.sum(s22, 0), mask=channels)
    if AFFINE:
        tl.store(partial + 9 * C, tl.sum(sum_gz, 0), mask=channels)
        tl.store(partial + 10 * C, tl.sum(sum_g, 0), mask=channels)
