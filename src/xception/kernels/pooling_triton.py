# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: the end of a downsampling module: BatchNorm, 3x3/2 max pool, shortcut's BatchNorm, sum.

Output pixel (h, w) is the maximum of rows 2h - PAD_TOP ... + 2 and columns 2w - PAD_LEFT ... + 2.
The forward pass notes which of the nine it was, and the backward pass gathers: input pixels ask the
up to four windows that contain them. No atomics: the same bits on every run.
"""

import triton
import triton.language as tl


@triton.jit
def pool_forward(
    z_ptr,
    scale_ptr,
    shift_ptr,
    shortcut_ptr,
    shortcut_scale_ptr,
    shortcut_shift_ptr,
    out_ptr,
    selected_ptr,
    index_ptr,
    N,
    H,
    W,
    PAD_TOP,
    PAD_LEFT,
    C: tl.constexpr,
    SHORTCUT: tl.constexpr,
    SAVE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Grid: (ceil(N·ceil(H/2)·ceil(W/2) / BLOCK_P), ceil(C / BLOCK_C))."""
    out_height = (H + 1) // 2
    out_width = (W + 1) // 2
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_range = (pixel < N * out_height * out_width)[:, None] & (c < C)[None, :]
    image = (pixel // (out_height * out_width)).to(tl.int64)
    top = pixel // out_width % out_height * 2 - PAD_TOP
    left = pixel % out_width * 2 - PAD_LEFT
    scale = tl.load(scale_ptr + c, mask=c < C, other=0.0)[None, :]
    shift = tl.load(shift_ptr + c, mask=c < C, other=0.0)[None, :]
    z_row = z_ptr + ((image * H + top) * W + left)[:, None] * C + c[None, :]

    best = tl.full((BLOCK_P, BLOCK_C), float("-inf"), tl.float32)
    selected = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    index = tl.zeros((BLOCK_P, BLOCK_C), tl.int32)
    for position in tl.static_range(9):
        h = top + position // 3
        w = left + position % 3
        inside = (h >= 0) & (h < H) & (w >= 0) & (w < W)
        mask = inside[:, None] & in_range
        z = tl.load(z_row + position % 3 * C, mask=mask, other=0.0).to(tl.float32)
        # Added, not selected: sums have units of their own, comparisons and selections share one.
        value = z * scale + shift + tl.where(inside, 0.0, float("-inf"))[:, None]
        better = ~(value <= best)  # a NaN, too; it wins for good in the maximum, as in torch
        best = tl.maximum(value, best, propagate_nan=tl.PropagateNan.ALL)
        selected = tl.where(better, z, selected)
        index = tl.where(better, position, index)
        if position % 3 == 2:
            z_row += W * C

    offset = pixel[:, None].to(tl.int64) * C + c[None, :]
    if SHORTCUT:
        shortcut = tl.load(shortcut_ptr + offset, mask=in_range, other=0.0).to(tl.float32)
        shortcut *= tl.load(shortcut_scale_ptr + c, mask=c < C, other=0.0)[None, :]
        best += shortcut + tl.load(shortcut_shift_ptr + c, mask=c < C, other=0.0)[None, :]
    tl.store(out_ptr + offset, best.to(out_ptr.dtype.element_ty), mask=in_range)
    if SAVE:
        selected = selected.to(selected_ptr.dtype.element_ty)
        tl.store(selected_ptr + offset, selected, mask=in_range)
        tl.store(index_ptr + offset, index.to(tl.int8), mask=in_range)


@triton.jit
def load_window(grad_ptr, index_ptr, offset, exists):
    """The gradient of a block of windows, and which of the nine pixels of each gets it (or -1)."""
    index = tl.load(index_ptr + offset, mask=exists, other=-1).to(tl.int32)
    return tl.load(grad_ptr + offset, mask=exists, other=0.0).to(tl.float32), index


@triton.jit
def pool_backward(
    grad_ptr,
    index_ptr,
    scale_ptr,
    grad_z_ptr,
    N,
    H,
    W,
    PAD_TOP,
    PAD_LEFT,
    C: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Gradient of z, four input pixels at a time: the upper left ones of window (i, j).

    Four windows contain one of the four pixels, and nine pairs of a window and a pixel of it exist,
    where four pixels for themselves would ask sixteen times.
    Grid: (ceil(N·I·J / BLOCK_P), ceil(C / BLOCK_C)), I = ceil((H + PAD_TOP) / 2), J likewise.
    """
    out_height = (H + 1) // 2
    out_width = (W + 1) // 2
    high = (H + PAD_TOP + 1) // 2
    wide = (W + PAD_LEFT + 1) // 2
    quad = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    valid = (quad < N * high * wide)[:, None] & (c < C)[None, :]
    image = (quad // (high * wide)).to(tl.int64)
    i = quad // wide % high
    j = quad % wide
    here = ((image * out_height + i) * out_width + j)[:, None] * C + c[None, :]
    above = here - out_width * C
    this_row, this_column = i < out_height, j < out_width
    row_above, column_before = i >= 1, j >= 1
    exists = (this_row & this_column)[:, None] & valid
    grad, index = load_window(grad_ptr, index_ptr, here, exists)
    exists = (this_row & column_before)[:, None] & valid
    grad_left, index_left = load_window(grad_ptr, index_ptr, here - C, exists)
    exists = (row_above & this_column)[:, None] & valid
    grad_above, index_above = load_window(grad_ptr, index_ptr, above, exists)
    exists = (row_above & column_before)[:, None] & valid
    grad_corner, index_corner = load_window(grad_ptr, index_ptr, above - C, exists)

    upper_left = tl.where(index == 0, grad, 0.0) + tl.where(index_left == 2, grad_left, 0.0)
    upper_left += tl.where(index_above == 6, grad_above, 0.0)
    upper_left += tl.where(index_corner == 8, grad_corner, 0.0)
    upper_right = tl.where(index == 1, grad, 0.0) + tl.where(index_above == 7, grad_above, 0.0)
    lower_left = tl.where(index == 3, grad, 0.0) + tl.where(index_left == 5, grad_left, 0.0)
    lower_right = tl.where(index == 4, grad, 0.0)

    scale = tl.load(scale_ptr + c, mask=c < C, other=0.0)[None, :]
    dtype = grad_z_ptr.dtype.element_ty
    h = 2 * i - PAD_TOP
    w = 2 * j - PAD_LEFT
    upper_ptr = grad_z_ptr + ((image * H + h) * W + w)[:, None] * C + c[None, :]
    lower_ptr = upper_ptr + W * C
    upper, lower = h >= 0, h + 1 < H
    left, right = w >= 0, w + 1 < W
    tl.store(upper_ptr, (upper_left * scale).to(dtype), mask=(upper & left)[:, None] & valid)
    tl.store(upper_ptr + C, (upper_right * scale).to(dtype), mask=(upper & right)[:, None] & valid)
    tl.store(lower_ptr, (lower_left * scale).to(dtype), mask=(lower & left)[:, None] & valid)
    tl.store(lower_ptr + C, (lower_right * scale).to(dtype), mask=(lower & right)[:, None] & valid)


@triton.jit
def pool_sums(
    grad_ptr,
    selected_ptr,
    shortcut_ptr,
    shortcut_scale_ptr,
    grad_shortcut_ptr,
    partial_ptr,
    M,
    ROWS,
    C: tl.constexpr,
    SHORTCUT: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Gradients of the scales and shifts and of the shortcut, over the M output pixels.

    partial: (programs, 3, C) float32: sum(g·z of the selected pixel), sum(g), sum(g·shortcut).
    Grid: (ceil(M / ROWS), ceil(C / BLOCK_C)).
    """
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    first = tl.program_id(0).to(tl.int64) * ROWS
    sum_gz = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    sum_g = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    sum_gs = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    if SHORTCUT:
        scale = tl.load(shortcut_scale_ptr + c, mask=c < C, other=0.0)[None, :]
    for start in tl.range(0, ROWS, BLOCK_P, num_stages=3):
        row = start + tl.arange(0, BLOCK_P)
        in_range = ((row < ROWS) & (first + row < M))[:, None] & (c < C)[None, :]
        offset = first * C + row[:, None] * C + c[None, :]
        grad = tl.load(grad_ptr + offset, mask=in_range, other=0.0).to(tl.float32)
        selected = tl.load(selected_ptr + offset, mask=in_range, other=0.0).to(tl.float32)
        sum_gz += grad * selected
        sum_g += grad
        if SHORTCUT:
            shortcut = tl.load(shortcut_ptr + offset, mask=in_range, other=0.0).to(tl.float32)
            sum_gs += grad * shortcut
            grad = (grad * scale).to(grad_shortcut_ptr.dtype.element_ty)
            tl.store(grad_shortcut_ptr + offset, grad, mask=in_range)
    partial = partial_ptr + tl.program_id(0).to(tl.int64) * 3 * C + c
    tl.store(partial, tl.sum(sum_gz, 0), mask=c < C)
    tl.store(partial + C, tl.sum(sum_g, 0), mask=c < C)
    tl.store(partial + 2 * C, tl.sum(sum_gs, 0), mask=c < C)
