# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: depthwise 3x3 convolution that applies BatchNorm, residual sum and ReLU as it reads.

Activations are channels_last: an image is H·W pixels of C channels. A program owns BLOCK_W columns
and BLOCK_C channels and slides down ROWS rows. It keeps the partial output rows in registers, so
that an input row is read once (three shifted loads, two of which hit the cache), not three times.
"""

import triton
import triton.language as tl

# What the second output of the forward pass is; see depthwise.Tap.
NO_TAP = tl.constexpr(0)
SUM = tl.constexpr(1)
STRIDED = tl.constexpr(2)
STRIDED_RELU = tl.constexpr(3)


@triton.jit
def load_row(pointer, mask):
    """A tile of a row in float32, zero where masked."""
    return tl.load(pointer, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def load_filter(weight_ptr, c, tap: tl.constexpr, in_range):
    """One of the nine taps of the (C, 1, 3, 3) filters, for a block of channels: (1, BLOCK_C)."""
    return tl.load(weight_ptr + c * 9 + tap, mask=in_range, other=0.0).to(tl.float32)[None, :]


@triton.jit
def depthwise_forward(
    z_ptr,
    scale_ptr,
    shift_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    tap_ptr,
    H,
    W,
    ROWS,
    C: tl.constexpr,
    AFFINE: tl.constexpr,
    RESIDUAL: tl.constexpr,
    RELU: tl.constexpr,
    TAP: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Grid: (N·ceil(H / ROWS), ceil(W / BLOCK_W), ceil(C / BLOCK_C))."""
    chunks = tl.cdiv(H, ROWS)
    image = (tl.program_id(0) // chunks).to(tl.int64)
    first = (tl.program_id(0) % chunks) * ROWS
    last = tl.minimum(first + ROWS, H)
    w = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    channels = c < C
    half_width = (W + 1) // 2
    # 64-bit offsets per image, 32-bit ones inside it.
    z_ptr += image * H * W * C
    out_ptr += image * H * W * C
    if RESIDUAL:
        residual_ptr += image * H * W * C
    if TAP == SUM:
        tap_ptr += image * H * W * C
    else:
        tap_ptr += image * ((H + 1) // 2) * half_width * C

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
    finished = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)  # output row h - 1, lacks input row h
    begun = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)  # output row h, lacks input rows h and h + 1

    for step in tl.range(0, ROWS + 2, num_stages=STAGES):
        h = first - 1 + step
        row = h + tl.zeros((BLOCK_W,), tl.int32)  # a block, so that the masks are block masks
        inside = ((row >= 0) & (row < H))[:, None]
        offset = h * W * C + w[:, None] * C + c[None, :]
        left_mask = left_in & inside
        centre_mask = centre_in & inside
        right_mask = right_in & inside
        left = load_row(z_ptr + offset - C, left_mask)
        centre = load_row(z_ptr + offset, centre_mask)
        right = load_row(z_ptr + offset + C, right_mask)
        if AFFINE:
            left = left * scale + shift
            centre = centre * scale + shift
            right = right * scale + shift
        if RESIDUAL:
            left += load_row(residual_ptr + offset - C, left_mask)
            centre += load_row(residual_ptr + offset, centre_mask)
            right += load_row(residual_ptr + offset + C, right_mask)
        owned = ((row >= first) & (row < last))[:, None] & centre_in
        if TAP == SUM:
            tl.store(tap_ptr + offset, centre.to(tap_ptr.dtype.element_ty), mask=owned)
        even = owned & ((row % 2 == 0) & (w % 2 == 0))[:, None]
        even_offset = ((row // 2) * half_width + w // 2)[:, None] * C + c[None, :]
        if TAP == STRIDED:
            tl.store(tap_ptr + even_offset, centre.to(tap_ptr.dtype.element_ty), mask=even)
        if RELU:
            left = tl.maximum(left, 0.0)
            centre = tl.maximum(centre, 0.0)
            right = tl.maximum(right, 0.0)
        if TAP == STRIDED_RELU:
            tl.store(tap_ptr + even_offset, centre.to(tap_ptr.dtype.element_ty), mask=even)
        if AFFINE:  # the padding is zeros of the activation, not of z
            left = tl.where(left_mask, left, 0.0)
            centre = tl.where(centre_mask, centre, 0.0)
            right = tl.where(right_mask, right, 0.0)

        out = finished + left * k20 + centre * k21 + right * k22
        finished = begun + left * k10 + centre * k11 + right * k12
        begun = left * k00 + centre * k01 + right * k02
        done = ((row - 1 >= first) & (row - 1 < last))[:, None] & centre_in
        tl.store(out_ptr + offset - W * C, out.to(out_ptr.dtype.element_ty), mask=done)
