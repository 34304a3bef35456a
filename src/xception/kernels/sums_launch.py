"""Adds up the partial sums that a kernel's programs wrote: one launch, two where there are many.

In plain PyTorch it would be four to six: the sum, and a copy of each part, as the results of an
operator must not share memory.
"""

from torch import Tensor

from xception.kernels.compilation import blocks_for, start

# More rows than this are first added up by as many programs, side by side.
MAXIMUM_ROWS = 256
BLOCKS = {"BLOCK_P": 32, "BLOCK_C": 64, "num_warps": 4}


def added_up(partial: Tensor, matrix: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The sums over the first axis, each in memory of its own.

    Args:
        partial: (P, S, C) float32, contiguous.
        matrix: (C, k, ...) contiguous, of any floating-point type; its values are set to the sums
            0 to k - 1. Without it the first result is a vector as the others are.

    Returns:
        The matrix, or the first sum; then the next two sums, (C,) float32 each. What S does not
        reach is empty.
    """
    from xception.kernels.sums_triton import add_and_part, add_rows

    rows, sums, channels = partial.shape
    if rows > MAXIMUM_ROWS:
        each = blocks_for(rows, MAXIMUM_ROWS)
        programs, columns = blocks_for(rows, each), sums * channels
        shorter = partial.new_empty((programs, sums, channels))
        grid = (programs, blocks_for(columns, BLOCKS["BLOCK_C"]))
        start(add_rows, grid, partial, shorter, rows, each, COLUMNS=columns, **BLOCKS)
        partial, rows = shorter, programs
    if matrix is None:
        matrix = partial.new_empty(channels)
    width = matrix.numel() // channels
    second, third = (partial.new_empty(channels if sums > width + i else 0) for i in (0, 1))
    grid = (sums, blocks_for(channels, BLOCKS["BLOCK_C"]))
    start(
        add_and_part, grid, partial, matrix, second, third, rows, C=channels, FIRST=width, **BLOCKS
    )
    return matrix, second, third
