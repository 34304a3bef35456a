# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: depthwise and pointwise convolution in one kernel, for few output channels.

A program owns BLOCK_M pixels and all output channels. For each block of input channels it computes
the depthwise convolution in registers and multiplies it with the pointwise weights at once, so that
the depthwise result need not be read again (training) or even written (inference). The nine shifted
loads of a block come from the cache, all but one.
"""

import triton
import triton.language as tl

from xception.kernels.activation_triton import rectified
from xception.kernels.depthwise_triton import NO_TAP, STRIDED_RELU, load_filter
from xception.kernels.pointwise_triton import column_sums


@triton.jit
def separable_forward(
    z_ptr,
    scale_ptr,
    shift_ptr,
    depthwise_ptr,
    pointwise_ptr,
    center_ptr,
    out_ptr,
    spatial_ptr,
    tap_ptr,
    partial_ptr,
    M,
    H,
    W,
    N: tl.constexpr,
    K: tl.constexpr,
    AFFINE: tl.constexpr,
    RELU: tl.constexpr,
    TAP: tl.constexpr,
    STATISTICS: tl.constexpr,
    SAVE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Grid: (ceil(M / BLOCK_M),), M the number of pixels; BLOCK_N is at least N."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.arange(0, BLOCK_N)
    h = m // W % H
    w = m % W
    image = (m // (H * W)).to(tl.int64)
    half_width = (W + 1) // 2
    even_pixel = image * ((H + 1) // 2) * half_width + (h // 2) * half_width + w // 2
    even = (m < M) & (h % 2 == 0) & (w % 2 == 0)
    pixel = m.to(tl.int64)
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        k_in = k < K
        if AFFINE:
            scale = tl.load(scale_ptr + k, mask=k_in, other=0.0)[None, :]
            shift = tl.load(shift_ptr + k, mask=k_in, other=0.0)[None, :]
        spatial = tl.zeros((BLOCK_M, BLOCK_K), tl.float32)
        for position in tl.static_range(9):
            row = h + position // 3 - 1
            column = w + position % 3 - 1
            inside = (m < M) & (row >= 0) & (row < H) & (column >= 0) & (column < W)
            mask = inside[:, None] & k_in[None, :]
            neighbour = pixel + ((position // 3 - 1) * W + position % 3 - 1)
            value = tl.load(z_ptr + neighbour[:, None] * K + k[None, :], mask=mask, other=0.0)
            value = value.to(tl.float32)
            if AFFINE:
                value = value * scale + shift
            if TAP != NO_TAP and position == 4:
                tap_mask = even[:, None] & k_in[None, :]
                tapped = rectified(value) if TAP == STRIDED_RELU else value
                tl.store(
                    tap_ptr + even_pixel[:, None] * K + k[None, :],
                    tapped.to(tap_ptr.dtype.element_ty),
                    mask=tap_mask,
                )
            if RELU:
                value = rectified(value)
            if AFFINE:  # the padding is zeros of the activation, not of z
                value = tl.where(mask, value, 0.0)
            spatial += value * load_filter(depthwise_ptr, k, position, k_in)
        rounded = spatial.to(out_ptr.dtype.element_ty)
        if SAVE:
            mask = (m < M)[:, None] & k_in[None, :]
            tl.store(spatial_ptr + pixel[:, None] * K + k[None, :], rounded, mask=mask)
        weight_mask = (n < N)[None, :] & k_in[:, None]
        weight = tl.load(pointwise_ptr + n[None, :] * K + k[:, None], mask=weight_mask, other=0.0)
        total = tl.dot(rounded, weight, total, input_precision=PRECISION)
    in_range = (m < M)[:, None] & (n < N)[None, :]
    tile_ptr = out_ptr + pixel[:, None] * N + n[None, :]
    tl.store(tile_ptr, total.to(out_ptr.dtype.element_ty), mask=in_range)
    if STATISTICS:
        column_sums(tile_ptr, in_range, m < M, center_ptr, partial_ptr, tl.program_id(0), n, N)
