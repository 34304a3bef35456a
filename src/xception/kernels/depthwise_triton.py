# mypy: disable-error-code="no-untyped-def,assignment"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: depthwise 3x3 convolution that applies BatchNorm, residual sum and ReLU as it reads.

Activations are channels_last: an image is H·W pixels of C channels. A thread owns a strip, COLUMNS
neighbouring columns of some channels, and slides down ROWS rows. Partial output rows stay in
registers, so that a row is read once, not three times; and of COLUMNS + 2 columns that are read and
normalised once, each is used for up to three outputs. With a thread for every column each value
would be converted, normalised and rectified three times, and instructions, not memory, the limit.
"""

import triton
import triton.language as tl

from xception.kernels.activation_triton import rectified

# What the second output of the forward pass is; see depthwise.Tap.
NO_TAP = tl.constexpr(0)
SUM = tl.constexpr(1)
STRIDED = tl.constexpr(2)
STRIDED_RELU = tl.constexpr(3)


@triton.jit
def load_filter(weight_ptr, c, tap: tl.constexpr, in_range):
    """One of the nine taps of the (C, 1, 3, 3) filters, for a block of channels: (1, BLOCK_C)."""
    return tl.load(weight_ptr + c * 9 + tap, mask=in_range, other=0.0).to(tl.float32)[None, :]


@triton.jit
def strips_of(block, H, W, COLUMNS: tl.constexpr, BLOCK_S: tl.constexpr):
    """A block of strips: image, first pixel of the image, first column, first column of its own.

    The strips of a row cover it; where COLUMNS does not divide the width, the last one begins
    earlier, so that all lie inside, and leaves the columns that the one before it owns.
    """
    strips = tl.cdiv(W, COLUMNS)
    strip = block * BLOCK_S + tl.arange(0, BLOCK_S)
    image = strip // strips
    own = (strip % strips) * COLUMNS
    # 64-bit offsets: a batch may have more than 2^31 values.
    return image, image.to(tl.int64) * H * W, tl.minimum(own, W - COLUMNS), own


@triton.jit
def depthwise_forward(
    z_ptr,
    scale_ptr,
    shift_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    tap_ptr,
    N,
    H,
    W,
    ROWS,
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
    """Grid: (ceil(N·ceil(W / COLUMNS) / BLOCK_S)·ceil(C / BLOCK_C), ceil(H / ROWS)).

    Blocks of channels are neighbours in the grid: they share sectors of memory, as pixels do not
    begin at multiples of a sector. OVERLAP: columns that the last strip of a row leaves.
    """
    blocks: tl.constexpr = (C + BLOCK_C - 1) // BLOCK_C
    image, pixel, w, own = strips_of(tl.program_id(0) // blocks, H, W, COLUMNS, BLOCK_S)
    c = (tl.program_id(0) % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    channels = c < C
    mask = (image < N)[:, None] & channels[None, :]
    left_in = (w > 0)[:, None]
    right_in = (w + COLUMNS < W)[:, None]
    first = tl.program_id(1) * ROWS
    last = tl.minimum(first + ROWS, H)
    start = tl.maximum(first - 1, 0)
    here = (pixel + start * W + w)[:, None] * C + c[None, :]
    z_row = z_ptr + here
    residual_row = residual_ptr + here
    tap_row = tap_ptr + here
    out_row = out_ptr + here - W * C  # the output row in work is the one above
    half_width = (W + 1) // 2
    half_image = image.to(tl.int64) * ((H + 1) // 2) * half_width

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
    finished = (zeros,) * COLUMNS  # output row h - 1, lacks input row h
    begun = (zeros,) * COLUMNS  # output row h, lacks input rows h and h + 1
    for h in range(start, tl.minimum(last + 1, H)):
        row = h + tl.zeros((BLOCK_S,), tl.int32)  # a block, so that the masks are block masks
        owned = ((row >= first) & (row < last))[:, None] & mask
        x = ()
        for j in tl.static_range(COLUMNS + 2):
            inside = mask
            if j == 0:
                inside = mask & left_in
            if j == COLUMNS + 1:
                inside = mask & right_in
            value = tl.load(z_row + (j - 1) * C, mask=inside, other=0.0).to(tl.float32)
            if AFFINE:
                value = value * scale + shift
            if RESIDUAL:
                more = tl.load(residual_row + (j - 1) * C, mask=inside, other=0.0)
                value += more.to(tl.float32)
            if TAP != NO_TAP and j > 0 and j <= COLUMNS:
                column = w + (j - 1)
                tapped = value
                if TAP == STRIDED_RELU:
                    tapped = rectified(value)
                tapped = tapped.to(tap_ptr.dtype.element_ty)
                written = owned
                if j <= OVERLAP:
                    written = owned & (column >= own)[:, None]
                if TAP == SUM:
                    tl.store(tap_row + (j - 1) * C, tapped, mask=written)
                else:
                    even = ((row % 2 == 0) & (column % 2 == 0))[:, None]
                    half = half_image + (row // 2) * half_width + column // 2
                    half_ptr = tap_ptr + half[:, None] * C + c[None, :]
                    tl.store(half_ptr, tapped, mask=written & even)
            if RELU:
                value = rectified(value)
            if AFFINE:  # the padding is zeros of the activation, not of z
                if j == 0:
                    value = tl.where(left_in, value, 0.0)
                if j == COLUMNS + 1:
                    value = tl.where(right_in, value, 0.0)
            x += (value,)

        done = (row > first)[:, None] & mask
        next_finished = ()
        next_begun = ()
        for j in tl.static_range(COLUMNS):
            out = finished[j] + x[j] * k20 + x[j + 1] * k21 + x[j + 2] * k22
            written = done
            if j < OVERLAP:
                written = done & (w + j >= own)[:, None]
            tl.store(out_row + j * C, out.to(out_ptr.dtype.element_ty), mask=written)
            middle = begun[j] + x[j] * k10 + x[j + 1] * k11 + x[j + 2] * k12
            next_finished += (middle,)
            next_begun += (x[j] * k00 + x[j + 1] * k01 + x[j + 2] * k02,)
        finished = next_finished
        begun = next_begun
        z_row += W * C
        residual_row += W * C
        tap_row += W * C
        out_row += W * C

    # Below the last row of an image there is padding: nothing is added to its output row.
    bottom = (last + tl.zeros((BLOCK_S,), tl.int32) == H)[:, None] & mask
    for j in tl.static_range(COLUMNS):
        written = bottom
        if j < OVERLAP:
            written = bottom & (w + j >= own)[:, None]
        tl.store(out_row + j * C, finished[j].to(out_ptr.dtype.element_ty), mask=written)
