"""Launches the pointwise product, Triton's or the library's, as timed, and the columns' sums."""

import torch
from torch import Tensor

from xception.kernels import tuning
from xception.kernels.compilation import blocks_for, start
from xception.kernels.depthwise_launch import block_of
from xception.kernels.dispatch import as_channels_last, as_given, images_of, rows_of
from xception.kernels.sums_launch import added_up

Sums = tuple[Tensor, Tensor]

# cuBLAS may beat a Triton product by more than the statistics' extra pass costs.
LIBRARY: tuning.Config = {"LIBRARY": 1}


def product_candidates(dtype: torch.dtype) -> list[tuning.Config]:
    """Configurations of the product, the one that fits any GPU's shared memory first.

    Args:
        dtype: Type of the activations. In float32 (IEEE, no TF32) tensor cores do not help, and
            Triton's own product is a fallback.
    """
    if dtype == torch.float32:
        return [LIBRARY, tile(64, 64, 32, warps=4, stages=2)]
    return [
        tile(128, 128, 32, warps=4, stages=3),
        LIBRARY,
        tile(128, 128, 64, warps=8, stages=3),
        tile(128, 128, 64, warps=4, stages=3),
        tile(128, 256, 64, warps=8, stages=3),
        tile(256, 128, 64, warps=8, stages=3),
        tile(128, 64, 64, warps=4, stages=4),
        tile(64, 64, 64, warps=4, stages=4),
    ]


@as_given
def launch_forward(
    x: Tensor, weight: Tensor, center: Tensor, statistics: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the product; arguments and results as in :mod:`xception.kernels.reference`."""
    from xception.kernels.pointwise_triton import pointwise_forward

    x = as_channels_last(x)
    batch, inputs, height, width = x.shape
    outputs = weight.shape[0]
    rows, matrix = rows_of(x), weight.reshape(outputs, inputs).contiguous()
    out = x.new_empty((len(rows), outputs))

    def launch(config: tuning.Config) -> Sums:
        if config == LIBRARY:
            torch.mm(rows, matrix.t(), out=out)
            return column_sums(out, center) if statistics else no_sums(x)
        tiles_m = blocks_for(len(rows), config["BLOCK_M"])
        tiles_n = blocks_for(outputs, config["BLOCK_N"])
        partial = x.new_empty((tiles_m if statistics else 0, 2, outputs), dtype=torch.float32)
        start(
            pointwise_forward,
            (tiles_m * tiles_n,),
            rows,
            matrix,
            center,
            out,
            partial,
            len(rows),
            N=outputs,
            K=inputs,
            STATISTICS=statistics,
            PRECISION="ieee" if x.dtype == torch.float32 else "tf32",
            **config,
        )
        return added_up(partial)[:2] if statistics else no_sums(x)

    key = (str(x.dtype), tuning.power_of_two(len(rows)), inputs, outputs, statistics)
    sums = launch(tuning.choose("pointwise", key, product_candidates(x.dtype), launch))
    return images_of(out, batch, height, width), *sums


def column_sums(rows: Tensor, center: Tensor) -> Sums:
    """Sums over the rows of (rows - center) and of its square: (N,) float32 each.

    Args:
        rows: (M, N), contiguous.
        center: (N,) float32.
    """
    from xception.kernels.pointwise_triton import column_statistics

    count, columns = rows.shape

    def launch(config: tuning.Config) -> Sums:
        programs = blocks_for(count, config["ROWS"])
        partial = rows.new_empty((programs, 2, columns), dtype=torch.float32)
        grid = (programs, blocks_for(columns, config["BLOCK_N"]))
        start(
            column_statistics,
            grid,
            rows,
            center,
            partial,
            count,
            N=columns,
            **config,
        )
        return added_up(partial)[:2]

    candidates = [
        {"ROWS": rows_each, "BLOCK_M": block_m, "BLOCK_N": block_of(columns), "num_warps": 4}
        for rows_each in (512, 2048)
        for block_m in (32, 64)
    ]
    key = (str(rows.dtype), tuning.power_of_two(count), columns)
    return launch(tuning.choose("column_statistics", key, candidates, launch))


def tile(block_m: int, block_n: int, block_k: int, *, warps: int, stages: int) -> tuning.Config:
    """A configuration of a product."""
    return {
        "BLOCK_M": block_m,
        "BLOCK_N": block_n,
        "BLOCK_K": block_k,
        "num_warps": warps,
        "num_stages": stages,
    }


def no_sums(x: Tensor) -> Sums:
    """Two empty vectors, where no sums are wanted."""
    return x.new_empty(0, dtype=torch.float32), x.new_empty(0, dtype=torch.float32)
