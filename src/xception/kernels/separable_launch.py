"""Launches the fused separable convolution, or its two kernels where those are faster."""

import torch
from torch import Tensor

from xception.kernels import depthwise_launch, pointwise_launch, tuning
from xception.kernels.compilation import blocks_for, start
from xception.kernels.depthwise_launch import TAPS, channels_last_like, empty_tap
from xception.kernels.dispatch import as_channels_last, as_given, images_of, rows_of
from xception.kernels.sums_launch import added_up

# Depthwise and pointwise kernel one after the other.
SPLIT: tuning.Config = {"SPLIT": 1}
# A program holds all output channels of its pixels.
MAXIMUM_OUTPUTS = 256

Results = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def candidates(dtype: torch.dtype, outputs: int) -> list[tuning.Config]:
    """Configurations of the fused kernel, and the one that runs the two kernels instead.

    Args:
        dtype: Type of the activations; in float32 the product alone takes the registers.
        outputs: Output channels, at most 256.
    """
    if dtype == torch.float32:
        return [SPLIT]
    block_n = max(16, 1 << (outputs - 1).bit_length())
    # Larger tiles spill: nine loads are in flight beside the accumulator.
    tiles = [(64, 32, 8), (64, 64, 8)]
    if block_n <= 128:
        tiles += [(64, 16, 4), (128, 16, 8)]
    return [SPLIT] + [
        {
            "BLOCK_M": block_m,
            "BLOCK_N": block_n,
            "BLOCK_K": block_k,
            "num_warps": warps,
            "num_stages": 2,
        }
        for block_m, block_k, warps in tiles
    ]


@as_given
def launch_forward(
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    center: Tensor,
    relu: bool,
    tap: str,
    statistics: bool,
    save: bool,
) -> Results:
    """Runs the kernel; arguments and results as in :mod:`xception.kernels.reference`."""
    from xception.kernels.separable_triton import separable_forward

    z = as_channels_last(z)
    batch, inputs, height, width = z.shape
    outputs = pointwise_weight.shape[0]
    count = batch * height * width
    depthwise_weight = depthwise_weight.contiguous()
    matrix = pointwise_weight.reshape(outputs, inputs).contiguous()

    def split() -> Results:
        spatial, tapped = depthwise_launch.launch_forward(
            z, scale, shift, None, depthwise_weight, relu, tap
        )
        out, total, squares = pointwise_launch.launch_forward(
            spatial, pointwise_weight, center, statistics
        )
        return out, total, squares, tapped, spatial if save else z.new_empty(0)

    def launch(config: tuning.Config) -> Results:
        if config == SPLIT:
            return split()
        out = z.new_empty((count, outputs))
        spatial = channels_last_like(z) if save else z.new_empty(0)
        tapped = empty_tap(z, tap)
        programs = blocks_for(count, config["BLOCK_M"])
        partial = z.new_empty((programs if statistics else 0, 2, outputs), dtype=torch.float32)
        start(
            separable_forward,
            (programs,),
            rows_of(z),
            z if scale is None else scale,
            z if shift is None else shift,
            depthwise_weight,
            matrix,
            center,
            out,
            spatial,
            tapped,
            partial,
            count,
            height,
            width,
            N=outputs,
            K=inputs,
            AFFINE=scale is not None,
            RELU=relu,
            TAP=TAPS.index(tap),
            STATISTICS=statistics,
            SAVE=save,
            PRECISION="ieee" if z.dtype == torch.float32 else "tf32",
            **config,
        )
        sums = added_up(partial)[:2] if statistics else pointwise_launch.no_sums(z)
        return images_of(out, batch, height, width), *sums, tapped, spatial

    size = (tuning.power_of_two(batch), inputs, height, width, outputs)
    key = (str(z.dtype), *size, scale is not None, relu, tap, statistics, save)
    return launch(tuning.choose("separable", key, candidates(z.dtype, outputs), launch))
