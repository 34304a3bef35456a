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
        joined = tl.where(mask, joined, 0.0).to(grad.dtype)
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
