# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201  (a kernel's arguments are pointers and sizes, typed at launch)
"""Triton: adds up the rows of partial sums that the programs of a kernel wrote.

Always in the same order: no atomics, the same bits on every run.
"""

import triton
import triton.language as tl


@triton.jit
def add_rows(
    partial_ptr,
    out_ptr,
    P,
    ROWS,
    COLUMNS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Sums of ROWS rows each: partial (P, COLUMNS) to out (ceil(P / ROWS), COLUMNS), float32.

    Grid: (ceil(P / ROWS), ceil(COLUMNS / BLOCK_C)).
    """
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    first = tl.program_id(0) * ROWS
    last = tl.minimum(first + ROWS, P)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in tl.range(0, ROWS, BLOCK_P, num_stages=2):
        row = first + start + tl.arange(0, BLOCK_P)
        mask = (row < last)[:, None] & (column < COLUMNS)[None, :]
        offset = row[:, None].to(tl.int64) * COLUMNS + column[None, :]
        total += tl.load(partial_ptr + offset, mask=mask, other=0.0)
    out = out_ptr + tl.program_id(0) * COLUMNS + column
    tl.store(out, tl.sum(total, 0), mask=column < COLUMNS)


@triton.jit
def add_and_part(
    partial_ptr,
    first_ptr,
    second_ptr,
    third_ptr,
    P,
    C: tl.constexpr,
    FIRST: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Adds partial (P, S, C) up and parts it: S - FIRST vectors, and a matrix (C, FIRST).

    Grid: (S, ceil(C / BLOCK_C)). Sums 0 to FIRST - 1 are the columns of the matrix; of the next
    ones each has a tensor of its own. What is written is rounded to the type of its tensor.
    """
    s = tl.program_id(0)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in tl.range(0, P, BLOCK_P, num_stages=2):
        row = start + tl.arange(0, BLOCK_P)
        mask = (row < P)[:, None] & (c < C)[None, :]
        offset = (row[:, None] * tl.num_programs(0) + s) * C + c[None, :]
        total += tl.load(partial_ptr + offset, mask=mask, other=0.0)
    value = tl.sum(total, 0)
    if s < FIRST:
        tl.store(first_ptr + c * FIRST + s, value.to(first_ptr.dtype.element_ty), mask=c < C)
    elif s == FIRST:
        tl.store(second_ptr + c, value, mask=c < C)
    else:
        tl.store(third_ptr + c, value, mask=c < C)
