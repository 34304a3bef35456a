# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: the whole backward pass of the fused depthwise convolution in one sweep.

One pass over the output gradient (with a halo) and the input (without) gives the input gradient
behind ReLU and BatchNorm, the filter gradient and the gradients of BatchNorm's scale and shift. The
sums stay in registers over all rows and images of a program; each program writes one row of float32
partial sums, which are added up afterwards: no atomics, hence the same bits on every run.
"""

import triton
import triton.language as tl

from xception.kernels.depthwise_triton import (
    STRIDED,
    STRIDED_RELU,
    SUM,
    load_filter,
    load_row,
)


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
    IMAGES,
    C: tl.constexpr,
    AFFINE: tl.constexpr,
    RESIDUAL: tl.constexpr,
    RELU: tl.constexpr,
    TAP: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Grid: (ceil(N / IMAGES)·ceil(H / ROWS), ceil(W / BLOCK_W), ceil(C / BLOCK_C)).

    partial: (grid[0]·grid[1], 9 or with AFFINE 11, C) float32: nine filter taps, then sum(g·z) and
    sum(g), where g is the gradient of the sum in front of the ReLU.
    """
    chunks = tl.cdiv(H, ROWS)
    first_image = (tl.program_id(0) // chunks) * IMAGES
    first = (tl.program_id(0) % chunks) * ROWS
    last = tl.minimum(first + ROWS, H)
    w = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    channels = c < C
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

    left_in = ((w >= 1) & (w - 1 < W))[:, None] & channels[None, :]
    centre_in = (w < W)[:, None] & channels[None, :]
    right_in = (w + 1 < W)[:, None] & channels[None, :]
    zero = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
    s00 = zero
    s01 = zero
    s02 = zero
    s10 = zero
    s11 = zero
    s12 = zero
    s20 = zero
    s21 = zero
    s22 = zero
    sum_gz = zero
    sum_g = zero

    for image in range(first_image, tl.minimum(first_image + IMAGES, N)):
        # 64-bit offsets per image, 32-bit ones inside it.
        start = tl.cast(image, tl.int64) * H * W * C
        grad_out_image = grad_out_ptr + start
        z_image = z_ptr + start
        residual_image = residual_ptr + start
        grad_z_image = grad_z_ptr + start
        grad_residual_image = grad_residual_ptr + start
        grad_tap_image = grad_tap_ptr + start
        if TAP != SUM:
            tap_size = ((H + 1) // 2) * half_width * C
            grad_tap_image = grad_tap_ptr + tl.cast(image, tl.int64) * tap_size
        # Rows h - 2 (above) and h - 1 (middle) of the output gradient; row h is loaded.
        above_left = zero
        above = zero
        above_right = zero
        middle_left = zero
        middle = zero
        middle_right = zero
        for step in tl.range(0, ROWS + 2, num_stages=STAGES):
            h = first - 1 + step
            row = h + tl.zeros((BLOCK_W,), tl.int32)
            inside = ((row >= 0) & (row < H))[:, None]
            offset = h * W * C + w[:, None] * C + c[None, :]
            below_left = load_row(grad_out_image + offset - C, left_in & inside)
            below = load_row(grad_out_image + offset, centre_in & inside)
            below_right = load_row(grad_out_image + offset + C, right_in & inside)

            # The input row in work is h - 1, the middle one.
            mine = ((row - 1 >= first) & (row - 1 < last))[:, None] & centre_in
            here = offset - W * C
            z = load_row(z_image + here, mine)
            before = z
            if AFFINE:
                before = z * scale + shift
            if RESIDUAL:
                before += load_row(residual_image + here, mine)
            activation = before
            if RELU:
                activation = tl.maximum(before, 0.0)
            activation = tl.where(mine, activation, 0.0)

            grad = below_right * k00 + below * k01 + below_left * k02
            grad += middle_right * k10 + middle * k11 + middle_left * k12
            grad += above_right * k20 + above * k21 + above_left * k22
            s00 += activation * below_right
            s01 += activation * below
            s02 += activation * below_left
            s10 += activation * middle_right
            s11 += activation * middle
            s12 += activation * middle_left
            s20 += activation * above_right
            s21 += activation * above
            s22 += activation * above_left

            even = mine & (((row - 1) % 2 == 0) & (w % 2 == 0))[:, None]
            even_offset = ((row - 1) // 2 * half_width + w // 2)[:, None] * C + c[None, :]
            if TAP == STRIDED_RELU:
                grad += load_row(grad_tap_image + even_offset, even)
            if RELU:
                grad = tl.where(before > 0.0, grad, 0.0)
            if TAP == STRIDED:
                grad += load_row(grad_tap_image + even_offset, even)
            if TAP == SUM:
                grad += load_row(grad_tap_image + here, mine)
            grad = tl.where(mine, grad, 0.0)
            if RESIDUAL:
                tl.store(
                    grad_residual_image + here,
                    grad.to(grad_residual_ptr.dtype.element_ty),
                    mask=mine,
                )
            if AFFINE:
                sum_gz += grad * z
                sum_g += grad
                grad = grad * scale
            tl.store(grad_z_image + here, grad.to(grad_z_ptr.dtype.element_ty), mask=mine)

            above_left = middle_left
            above = middle
            above_right = middle_right
            middle_left = below_left
            middle = below
            middle_right = below_right

    program = (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64)
    partial = partial_ptr + program * (11 if AFFINE else 9) * C + c
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
