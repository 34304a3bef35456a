# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: pointwise convolution as a matrix product that sums its result's columns as it writes.

BatchNorm needs the mean and variance of every channel of the result. The tile of the result is in
registers when it is finished, so its column sums cost no memory traffic; each row of tiles writes
one row of partial sums, which are added up afterwards: no atomics, the same bits on every run.
"""

import triton
import triton.language as tl


@triton.jit
def column_sums(tile_ptr, mask, is_pixel, center_ptr, partial_ptr, row, columns, N: tl.constexpr):
    """Writes one row of partial sums of (values - center) and of its square, float32.

    partial: (rows, 2, N). The values are those of a tile that the program has just written, and
    reads again, from the cache: in the registers that a product leaves them in, a column is spread
    over so many threads that adding it up would take half the time of the product itself.

    The centre (the running mean) keeps the variance from cancelling. Rows that are no pixels are
    read as zeros: a centre of zero for them takes one instruction a value less than a selection.
    """
    tl.debug_barrier()  # all threads have written
    values = tl.load(tile_ptr, mask=mask, other=0.0).to(tl.float32)
    valid = columns < N
    center = tl.load(center_ptr + columns, mask=valid, other=0.0)[None, :]
    centered = values - center * tl.where(is_pixel, 1.0, 0.0)[:, None]
    partial = partial_ptr + tl.cast(row, tl.int64) * 2 * N + columns
    tl.store(partial, tl.sum(centered, 0), mask=valid)
    tl.store(partial + N, tl.sum(centered * centered, 0), mask=valid)


@triton.jit
def pointwise_forward(
    x_ptr,
    weight_ptr,
    center_ptr,
    out_ptr,
    partial_ptr,
    M,
    N: tl.constexpr,
    K: tl.constexpr,
    STATISTICS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Computes out (M, N) = x (M, K) · weight (N, K)ᵀ; grid: one program per tile of out.

    Programs of the same rows are neighbours, so that x comes from memory once; the weight stays in
    the L2 cache.
    """
    tiles_n: tl.constexpr = (N + BLOCK_N - 1) // BLOCK_N
    tile_m = tl.program_id(0) // tiles_n
    tile_n = tl.program_id(0) % tiles_n
    m = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    x_tile = x_ptr + m[:, None].to(tl.int64) * K + k[None, :]
    weight_tile = weight_ptr + n[None, :] * K + k[:, None]
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K, BLOCK_K):
        k_in = start + k < K
        x = tl.load(x_tile + start, mask=(m < M)[:, None] & k_in[None, :], other=0.0)
        weight = tl.load(weight_tile + start, mask=(n < N)[None, :] & k_in[:, None], other=0.0)
        total = tl.dot(x, weight, total, input_precision=PRECISION)
    in_range = (m < M)[:, None] & (n < N)[None, :]
    tile_ptr = out_ptr + m[:, None].to(tl.int64) * N + n[None, :]
    tl.store(tile_ptr, total.to(out_ptr.dtype.element_ty), mask=in_range)
    if STATISTICS:  # of the rounded values: those that BatchNorm will read
        column_sums(tile_ptr, in_range, m < M, center_ptr, partial_ptr, tile_m, n, N)


@triton.jit
def column_statistics(
    x_ptr,
    center_ptr,
    partial_ptr,
    M,
    ROWS,
    N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Partial sums of the columns of x (M, N), ROWS rows to a program; for products of a library.

    Grid: (ceil(M / ROWS), ceil(N / BLOCK_N)).
    """
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    valid = n < N
    center = tl.load(center_ptr + n, mask=valid, other=0.0)[None, :]
    first = tl.program_id(0).to(tl.int64) * ROWS
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    squares = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in tl.range(0, ROWS, BLOCK_M, num_stages=3):
        row = start + tl.arange(0, BLOCK_M)
        is_pixel = (row < ROWS) & (first + row < M)
        mask = is_pixel[:, None] & valid[None, :]
        x = tl.load(x_ptr + first * N + row[:, None] * N + n[None, :], mask=mask, other=0.0)
        centered = x.to(tl.float32) - center * tl.where(is_pixel, 1.0, 0.0)[:, None]
        total += centered
        squares += centered * centered
    partial = partial_ptr + tl.program_id(0).to(tl.int64) * 2 * N + n
    tl.store(partial, tl.sum(total, 0), mask=valid)
    tl.store(partial + N, tl.sum(squares, 0), mask=valid)


@triton.jit
def combine_gradients(
    grad_ptr,
    z_ptr,
    center_ptr,
    grad_sum_ptr,
    grad_squares_ptr,
    out_ptr,
    M,
    N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Gradient of z (M, N) that reaches it directly and through its column sums.

    out = grad + grad_sum + 2 · (z - center) · grad_squares. Grid: (ceil(M / BLOCK_M), tiles of N).
    """
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_range = (m < M)[:, None] & (n < N)[None, :]
    offset = m[:, None].to(tl.int64) * N + n[None, :]
    slope = 2.0 * tl.load(grad_squares_ptr + n, mask=n < N, other=0.0)
    constant = tl.load(grad_sum_ptr + n, mask=n < N, other=0.0)
    constant -= slope * tl.load(center_ptr + n, mask=n < N, other=0.0)
    grad = tl.load(grad_ptr + offset, mask=in_range, other=0.0).to(tl.float32)
    z = tl.load(z_ptr + offset, mask=in_range, other=0.0).to(tl.float32)
    out = grad + constant[None, :] + z * slope[None, :]
    tl.store(out_ptr + offset, out.to(out_ptr.dtype.element_ty), mask=in_range)
