# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: the end of a downsampling module: BatchNorm, 3x3/2 max pool, shortcut's BatchNorm, sum.

Output pixel (h, w) is the maximum of rows 2h - PAD_TOP ... + 2 and columns 2w - PAD_LEFT ... + 2.
The forward pass notes which of the nine it was, and the backward pass gathers: each input pixel
asks the up to four windows that contain it. No atomics: the same bits on every run.
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
    z_image = z_ptr + image[:, None] * H * W * C + c[None, :]

    best = tl.full((BLOCK_P, BLOCK_C), float("-inf"), tl.float32)
    selected = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    index = tl.zeros((BLOCK_P, BLOCK_C), tl.int32)
    for position in tl.static_range(9):
        h = top + position // 3
        w = left + position % 3
        inside = ((h >= 0) & (h < H) & (w >= 0) & (w < W))[:, None] & in_range
        z = tl.load(z_image + (h * W + w)[:, None] * C, mask=inside, other=0.0).to(tl.float32)
        value = z * scale + shift
        better = inside & ((value > best) | (value != value))  # a NaN wins, as in torch
        best = tl.where(better, value, best)
        selected = tl.where(better, z, selected)
        index = tl.where(better, position, index)

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
    """Gradient of z, an input pixel at a time. Grid: (ceil(N·H·W / BLOCK_P), ceil(C / BLOCK_C))."""
    out_height = (H + 1) // 2
    out_width = (W + 1) // 2
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_range = (pixel < N * H * W)[:, None] & (c < C)[None, :]
    image = (pixel // (H * W)).to(tl.int64)
    h = pixel // W % H + PAD_TOP
    w = pixel % W + PAD_LEFT
    start = image * out_height * out_width
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for window in tl.static_range(4):
        # The window that begins at or just before the pixel, and the one two rows earlier.
        out_h = h // 2 - window // 2
        out_w = w // 2 - window % 2
        row = h - 2 * out_h
        column = w - 2 * out_w
        exists = (out_h >= 0) & (out_h < out_height) & (out_w >= 0) & (out_w < out_width)
        exists = (exists & (row < 3) & (column < 3))[:, None] & in_range
        offset = (start + out_h * out_width + out_w)[:, None] * C + c[None, :]
        index = tl.load(index_ptr + offset, mask=exists, other=-1).to(tl.int32)
        chosen = exists & (index == (row * 3 + column)[:, None])
        total += tl.load(grad_ptr + offset, mask=chosen, other=0.0).to(tl.float32)
    total *= tl.load(scale_ptr + c, mask=c < C, other=0.0)[None, :]
    offset = pixel[:, None].to(tl.int64) * C + c[None, :]
    tl.store(grad_z_ptr + offset, total.to(grad_z_ptr.dtype.element_ty), mask=in_range)


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
