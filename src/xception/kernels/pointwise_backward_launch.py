"""Launches the backward pass of the pointwise convolution, in one of three ways, as timed.

The gradient of the product z joins what reaches it directly and through its sums. The join is a
pass of its own, followed by two products of the library; or it is part of the product that gives
the input gradient; or, for few channels, one kernel gives both gradients.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from xception.kernels import tuning
from xception.kernels.compilation import blocks_for, start
from xception.kernels.depthwise_launch import block_of
from xception.kernels.dispatch import as_channels_last, as_given, images_of, rows_of
from xception.kernels.pointwise_launch import LIBRARY, tile
from xception.kernels.sums_launch import added_up

# A program of the kernel that gives both gradients holds the weight's, in float32, in registers.
MOST_INPUTS, MOST_OUTPUTS = 128, 256
# Twice the multiprocessors of an H100. A number of the GPU at hand would change the order of sums.
PROGRAMS = 264


class Parts(NamedTuple):
    """Of what the gradient of a product z is joined, in the order of the kernels' arguments.

    Attributes:
        grad: (M, N), contiguous; the gradient that reaches z directly.
        z: (M, N), contiguous.
        center: (N,) float32, what the statistics were centred on.
        grad_sum: (N,) gradient of the sum over the rows of z - center.
        grad_squares: (N,) gradient of the sum of its square.
    """

    grad: Tensor
    z: Tensor
    center: Tensor
    grad_sum: Tensor
    grad_squares: Tensor


def backward_candidates(dtype: torch.dtype, inputs: int, outputs: int) -> list[tuning.Config]:
    """Configurations, the library's products first.

    Args:
        dtype: Type of the activations; in float32 there are only the library's products.
        inputs: Input channels.
        outputs: Output channels.
    """
    if dtype == torch.float32:
        return [LIBRARY]
    if inputs <= MOST_INPUTS and outputs <= MOST_OUTPUTS:
        stages = (2, 3) if outputs <= 128 else (2,)
        whole = [{"BLOCK_M": 64, "STAGES": count, "num_warps": 8} for count in stages]
        return [LIBRARY, *whole, tile(128, 32, 128, warps=8, stages=3)]
    return [
        LIBRARY,
        # Here BLOCK_N is the inner side of the product and BLOCK_K a side of the tile.
        tile(128, 32, 256, warps=8, stages=3),
        tile(128, 64, 128, warps=8, stages=3),
    ]


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
    x_rows = rows_of(as_channels_last(x))
    if statistics:
        z_rows = rows_of(as_channels_last(z))
        # A gradient may be one number, expanded.
        sums = (center, grad_sum.contiguous(), grad_squares.contiguous())
        grad_x, grad_weight = _gradients(Parts(grad_rows, z_rows, *sums), matrix, x_rows)
    else:
        grad_x, grad_weight = torch.mm(grad_rows, matrix), _weight_gradient(grad_rows, x_rows)
    return images_of(grad_x, batch, height, width), grad_weight.reshape(weight.shape)


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of the weight (N, K), of the type of grad, from grad (M, N) and x (M, K).

    It sums over millions of pixels, which the library divides into parts; in half precision it
    would round the parts' sums, too, if the result were not asked for in float32.
    """
    if grad.is_cuda and grad.dtype != torch.float32:
        return torch.mm(grad.t(), x, out_dtype=torch.float32).to(grad.dtype)
    return torch.mm(grad.t(), x)


def _gradients(parts: Parts, matrix: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the input rows x (M, K) and of the weight, the matrix (N, K)."""
    outputs, inputs = matrix.shape
    grad = parts.grad

    def launch(config: tuning.Config) -> tuple[Tensor, Tensor]:
        if config == LIBRARY:
            joined = combine(*parts)
            return torch.mm(joined, matrix), _weight_gradient(joined, x)
        if "STAGES" in config:
            return _both(parts, x, matrix, config)
        out, joined = _joining_product(parts, matrix, config)
        return out, _weight_gradient(joined, x)

    key = (str(grad.dtype), tuning.power_of_two(len(grad)), inputs, outputs)
    candidates = backward_candidates(grad.dtype, inputs, outputs)
    return launch(tuning.choose("pointwise_backward", key, candidates, launch))


def _joining_product(parts: Parts, matrix: Tensor, config: tuning.Config) -> tuple[Tensor, Tensor]:
    """The input gradient (M, K), and the whole gradient of z (M, N)."""
    from xception.kernels.pointwise_backward_triton import pointwise_backward_input

    grad, (outputs, inputs) = parts.grad, matrix.shape
    joined, out = torch.empty_like(grad), grad.new_empty((len(grad), inputs))
    programs = blocks_for(len(grad), config["BLOCK_M"]) * blocks_for(inputs, config["BLOCK_K"])
    start(
        pointwise_backward_input,
        (programs,),
        *parts,
        matrix,
        joined,
        out,
        len(grad),
        N=outputs,
        K=inputs,
        PRECISION="ieee" if grad.dtype == torch.float32 else "tf32",
        **config,
    )
    return out, joined


def _both(parts: Parts, x: Tensor, matrix: Tensor, config: tuning.Config) -> tuple[Tensor, Tensor]:
    """The gradients of the input rows (M, K) and of the weight (N, K), by one kernel."""
    import triton

    from xception.kernels.pointwise_backward_triton import pointwise_backward_whole

    grad, z, *sums = parts
    outputs, inputs = matrix.shape
    out = torch.empty_like(x)
    blocks = blocks_for(len(grad), config["BLOCK_M"])
    tiles = blocks_for(blocks, PROGRAMS)
    programs = blocks_for(blocks, tiles)
    partial = grad.new_empty((programs, 1, outputs * inputs), dtype=torch.float32)
    start(
        pointwise_backward_whole,
        (programs,),
        grad,
        z,
        x,
        *sums,
        matrix,
        out,
        partial,
        len(grad),
        tiles,
        N=outputs,
        K=inputs,
        PRECISION="ieee" if grad.dtype == torch.float32 else "tf32",
        BLOCK_N=max(16, triton.next_power_of_2(outputs)),
        BLOCK_K=max(16, triton.next_power_of_2(inputs)),
        **config,
    )
    grad_weight = added_up(partial)[0]
    return out, grad_weight.to(grad.dtype).view(outputs, inputs)


def combine(
    grad: Tensor, z: Tensor, center: Tensor, grad_sum: Tensor, grad_squares: Tensor
) -> Tensor:
    """Gradient of z (M, N): grad + grad_sum + 2 · (z - center) · grad_squares, see `Parts`."""
    from xception.kernels.pointwise_triton import combine_gradients

    out = torch.empty_like(grad)
    count, columns = grad.shape

    def launch(config: tuning.Config) -> Any:
        tiles = (blocks_for(count, config["BLOCK_M"]), blocks_for(columns, config["BLOCK_N"]))
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
