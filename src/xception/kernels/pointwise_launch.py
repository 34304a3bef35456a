"""Launches the pointwise kernels; the forward product is Triton's or the library's, as timed."""

from typing import Any

import torch
from torch import Tensor

from xception.kernels import tuning
from xception.kernels.compilation import start
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
        return [LIBRARY, _tile(64, 64, 32, warps=4, stages=2)]
    return [
        _tile(128, 128, 32, warps=4, stages=3),
        LIBRARY,
        _tile(128, 128, 64, warps=8, stages=3),
        _tile(128, 128, 64, warps=4, stages=3),
        _tile(128, 256, 64, warps=8, stages=3),
        _tile(256, 128, 64, warps=8, stages=3),
        _tile(128, 64, 64, warps=4, stages=4),
        _tile(64, 64, 64, warps=4, stages=4),
    ]


def backward_candidates(dtype: torch.dtype) -> list[tuning.Config]:
    """Configurations of the input gradient, the library's product first.

    Args:
        dtype: Type of the activations; in float32 there is only the library's product.
    """
    if dtype == torch.float32:
        return [LIBRARY]
    return [
        LIBRARY,
        # Here BLOCK_N is the inner side of the product and BLOCK_K a side of the tile.
        _tile(128, 32, 128, warps=8, stages=3),
        _tile(128, 64, 128, warps=8, stages=3),
        _tile(128, 32, 256, warps=8, stages=3),
        _tile(64, 64, 128, warps=4, stages=3),
    ]


@as_given
def launch_forward(
    x: Tensor, weight: Tensor, center: Tensor, statistics: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the product; arguments and results as in :mod:`xception.kernels.reference`."""
    import triton

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
        tiles_m = triton.cdiv(len(rows), config["BLOCK_M"])
        tiles_n = triton.cdiv(outputs, config["BLOCK_N"])
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


@as_given
def launch_backward(
    grad: Tensor,
    grad_sum: Tensor,
    grad_squares: Tensor,
    z: Tensor,
    x: Tensor,
    weight: Tensor,
    center: Tensor,
    statistics: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight; arguments and results as in the reference."""
    batch, inputs, height, width = x.shape
    outputs = weight.shape[0]
    grad_rows = rows_of(as_channels_last(grad.to(x.dtype)))
    matrix = weight.reshape(outputs, inputs).contiguous()
    if statistics:
        z_rows = rows_of(as_channels_last(z))
        # A gradient may be one number, expanded.
        sums = (center, grad_sum.contiguous(), grad_squares.contiguous())
        grad_x, grad_rows = _backward_input(grad_rows, z_rows, *sums, matrix)
    else:
        grad_x = torch.mm(grad_rows, matrix)
    grad_weight = _weight_gradient(grad_rows, rows_of(as_channels_last(x)))
    return images_of(grad_x, batch, height, width), grad_weight.reshape(weight.shape)


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of the weight (N, K), of the type of grad, from grad (M, N) and x (M, K).

    It sums over millions of pixels, which the library divides into parts; in half precision it
    would round the parts' sums, too, if the result were not asked for in float32.
    """
    if grad.is_cuda and grad.dtype != torch.float32:
        return torch.mm(grad.t(), x, out_dtype=torch.float32).to(grad.dtype)
    return torch.mm(grad.t(), x)


def _backward_input(
    grad: Tensor,
    z: Tensor,
    center: Tensor,
    grad_sum: Tensor,
    grad_squares: Tensor,
    matrix: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradient of the input rows (M, K), and the whole gradient of z (M, N), see :func:`combine`.

    One kernel, or a pass that combines and the library's product, as timed.
    """
    import triton

    from xception.kernels.pointwise_backward_triton import pointwise_backward_input

    outputs, inputs = matrix.shape
    count = len(grad)

    def launch(config: tuning.Config) -> tuple[Tensor, Tensor]:
        if config == LIBRARY:
            joined = combine(grad, z, center, grad_sum, grad_squares)
            return torch.mm(joined, matrix), joined
        joined, out = torch.empty_like(grad), grad.new_empty((count, inputs))
        programs = triton.cdiv(count, config["BLOCK_M"]) * triton.cdiv(inputs, config["BLOCK_K"])
        start(
            pointwise_backward_input,
            (programs,),
            grad,
            z,
            center,
            grad_sum,
            grad_squares,
            matrix,
            joined,
            out,
            count,
            N=outputs,
            K=inputs,
            PRECISION="ieee" if grad.dtype == torch.float32 else "tf32",
            **config,
        )
        return out, joined

    key = (str(grad.dtype), tuning.power_of_two(count), inputs, outputs)
    candidates = backward_candidates(grad.dtype)
    return launch(tuning.choose("pointwise_backward", key, candidates, launch))


def column_sums(rows: Tensor, center: Tensor) -> Sums:
    """Sums over the rows of (rows - center) and of its square: (N,) float32 each.

    Args:
        rows: (M, N), contiguous.
        center: (N,) float32.
    """
    import triton

    from xception.kernels.pointwise_triton import column_statistics

    count, columns = rows.shape

    def launch(config: tuning.Config) -> Sums:
        programs = triton.cdiv(count, config["ROWS"])
        partial = rows.new_empty((programs, 2, columns), dtype=torch.float32)
        grid = (programs, triton.cdiv(columns, config["BLOCK_N"]))
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


def combine(
    grad: Tensor, z: Tensor, center: Tensor, grad_sum: Tensor, grad_squares: Tensor
) -> Tensor:
    """Gradient of z: grad + grad_sum + 2 · (z - center) · grad_squares.

    Args:
        grad: (M, N), contiguous; the gradient that reaches z directly.
        z: (M, N), contiguous.
        center: (N,) float32, what the statistics were centred on.
        grad_sum: (N,) gradient of the sum over the rows of z - center.
        grad_squares: (N,) gradient of the sum of its square.
    """
    import triton

    from xception.kernels.pointwise_triton import combine_gradients

    out = torch.empty_like(grad)
    count, columns = grad.shape

    def launch(config: tuning.Config) -> Any:
        tiles = (triton.cdiv(count, config["BLOCK_M"]), triton.cdiv(columns, config["BLOCK_N"]))
        start(
            combine_gradients,
            tiles,
            grad,
            z,
            center,
            grad_sum,
            grad_squares,
            out,
            count,
            N=columns,
            **config,
        )

    candidates = [
        {"BLOCK_M": block_m, "BLOCK_N": block_of(columns), "num_warps": 4} for block_m in (32, 64)
    ]
    key = (str(grad.dtype), tuning.power_of_two(count), columns)
    launch(tuning.choose("combine_gradients", key, candidates, launch))
    return out


def _tile(block_m: int, block_n: int, block_k: int, *, warps: int, stages: int) -> tuning.Config:
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
