# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: the input gradient of the pointwise convolution, with BatchNorm's gradient on the way.

The gradient of the product z has two parts: one comes straight from the layer after it, one
through the sums that BatchNorm took. Both are joined as the matrix product reads them; the joined
gradient is written once, for the product that gives the weight gradient.
"""

import triton
import triton.language as tl


@triton.jit
def pointwise_backward_input(
    grad_ptr,
    z_ptr,
    center_ptr,
    grad_sum_ptr,
    grad_squares_ptr,
    weight_ptr,
    joined_ptr,
    out_ptr,
    M,
    N: tl.constexpr,
    K: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Computes out (M, K) = joined (M, N) · weight (N, K); grid: one program per tile of out.

    joined = grad + grad_sum + 2 · (z - center) · grad_squares, rounded to the type of grad.
    """
    tiles_k: tl.constexpr = (K + BLOCK_K - 1) // BLOCK_K
    tile_m = tl.program_id(0) // tiles_k
    tile_k = tl.program_id(0) % tiles_k
    m = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tile_k * BLOCK_K + tl.arange(0, BLOCK_K)
    n = tl.arange(0, BLOCK_N)
    rows = m[:, None].to(tl.int64) * N + n[None, :]
    first_tile = tile_k + tl.zeros((BLOCK_M,), tl.int32) == 0
    total = tl.zeros((BLOCK_M, BLOCK_K), tl.float32)
    for start in range(0, N, BLOCK_N):
        n_in = start + n < N
        mask = (m < M)[:, None] & n_in[None, :]
        slope = 2.0 * tl.load(grad_squares_ptr + start + n, mask=n_in, other=0.0)
        constant = tl.load(grad_sum_ptr + start + n, mask=n_in, other=0.0)
        constant -= slope * tl.load(center_ptr + start + n, mask=n_in, other=0.0)
        grad = tl.load(grad_ptr + rows + start, mask=mask, other=0.0)
        z = tl.load(z_ptr + rows + start, mask=mask, other=0.0).to(tl.float32)
        joined = grad.to(tl.float32) + constant[None, :] + z * slope[None, :]
        joined = joined.to(grad.dtype)  # beyond N zeros, as everything that was loaded is
        tl.store(joined_ptr + rows + start, joined, mask=mask & first_tile[:, None])
        weight_mask = n_in[:, None] & (k < K)[None, :]
        weight_tile = weight_ptr + (start + n)[:, None] * K + k[None, :]
        weight = tl.load(weight_tile, mask=weight_mask, other=0.0)
        total = tl.dot(joined, weight, total, input_precision=PRECISION)
    in_range = (m < M)[:, None] & (k < K)[None, :]
    tl.store(
        out_ptr + m[:, None].to(tl.int64) * K + k[None, :],
        total.to(out_ptr.dtype.element_ty),
        mask=in_range,
    )


@triton.jit
def pointwise_backward_whole(
    grad_ptr,
    z_ptr,
    x_ptr,
    center_ptr,
    grad_sum_ptr,
    grad_squares_ptr,
    weight_ptr,
    out_ptr,
    partial_ptr,
    M,
    TILES,
    N: tl.constexpr,
    K: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Both gradients at once, for few channels: the joined gradient is never in memory.

    Computes out (M, K) = joined (M, N) · weight (N, K), and of the weight gradient joinedᵀ · x the
    part that the program's TILES · BLOCK_M rows give: partial (programs, N, K), float32.
    Grid: (ceil(M / (TILES · BLOCK_M)),); BLOCK_N is at least N, BLOCK_K at least K.
    """
    n = tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    slope = 2.0 * tl.load(grad_squares_ptr + n, mask=n < N, other=0.0)
    constant = tl.load(grad_sum_ptr + n, mask=n < N, other=0.0)
    constant -= slope * tl.load(center_ptr + n, mask=n < N, other=0.0)
    weight_tile = n[:, None] * K + k[None, :]
    weight_mask = (n < N)[:, None] & (k < K)[None, :]
    weight = tl.load(weight_ptr + weight_tile, mask=weight_mask, other=0.0)
    gradient = tl.zeros((BLOCK_K, BLOCK_N), tl.float32)
    # 64-bit offsets to the program's rows, 32-bit ones among them.
    first = tl.program_id(0).to(tl.int64) * TILES * BLOCK_M
    count = tl.minimum(M - first, TILES * BLOCK_M).to(tl.int32)
    grad_ptr += first * N
    z_ptr += first * N
    x_ptr += first * K
    out_ptr += first * K
    for tile in tl.range(0, TILES, num_stages=STAGES):
        m = tile * BLOCK_M + tl.arange(0, BLOCK_M)
        inside = (m < count)[:, None]
        rows = m[:, None] * N + n[None, :]
        grad = tl.load(grad_ptr + rows, mask=inside & (n < N)[None, :], other=0.0)
        z = tl.load(z_ptr + rows, mask=inside & (n < N)[None, :], other=0.0).to(tl.float32)
        pixels = m[:, None] * K + k[None, :]
        mask = inside & (k < K)[None, :]
        x = tl.load(x_ptr + pixels, mask=mask, other=0.0)
        # Rows that are no pixels: not written below, and multiplied by zeros of x.
        joined = grad.to(tl.float32) + constant[None, :] + z * slope[None, :]
        joined = joined.to(grad.dtype)
        # Transposed, with joined on the right of both products: what is on the right is read from
        # shared memory; on the left its columns' vectors would take half of a thread's registers.
        out = tl.trans(tl.dot(tl.trans(weight), tl.trans(joined), input_precision=PRECISION))
        tl.store(out_ptr + pixels, out.to(out_ptr.dtype.element_ty), mask=mask)
        gradient = tl.dot(tl.trans(x), joined, gradient, input_precision=PRECISION)
    partial = partial_ptr + tl.program_id(0).to(tl.int64) * N * K + weight_tile
    tl.store(partial, tl.trans(gradient), mask=weight_mask)
