"""Launches the depthwise kernels: sizes, grids and the configurations among which to choose."""

import functools
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from xception.kernels import tuning
from xception.kernels.compilation import blocks_for, start
from xception.kernels.dispatch import as_channels_last, as_given
from xception.kernels.sums_launch import added_up

Tap = Literal["none", "sum", "strided", "strided-relu"]
TAPS = get_args(Tap)
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

# Of an H100 or H200, for the lengths of slides; on another GPU they are a little longer or shorter.
MULTIPROCESSORS = 132
SHORTEST = 4  # rows of a slide, unless an image has fewer


def forward_candidates(z: Tensor) -> list[tuning.Config]:
    """Configurations of the forward kernel, the one that is predicted to be the fastest first.

    Two channels per thread and many threads, or four channels and fewer instructions for each.

    Args:
        z: (N, C, H, W).
    """
    tiles = ((5, 4, 64, 4), (3, 4, 64, 4), (4, 8, 64, 4))
    return _configs(*_size(z), tiles, 8, (1,))


def backward_candidates(z: Tensor) -> list[tuning.Config]:
    """Configurations of the backward kernel, the one that is predicted to be the fastest first.

    Args:
        z: (N, C, H, W).
    """
    tiles = ((4, 4, 64, 4), (3, 4, 64, 4))
    return _configs(*_size(z), tiles, 4, (4, 2, 1))


def _size(z: Tensor) -> tuple[int, int, int, int]:
    """Batch, rounded up to a power of two, channels, height, width."""
    batch, channels, height, width = z.shape
    return tuning.power_of_two(batch), channels, height, width


@functools.cache  # is asked at every launch
def _configs(
    batch: int,
    channels: int,
    height: int,
    width: int,
    tiles: tuple[tuple[int, int, int, int], ...],
    resident: int,
    repeats: tuple[int, ...],
) -> list[tuning.Config]:
    """Two configurations of each tile: the longest slides that still fill a GPU, and half of them.

    A program reads two rows more than it slides down, and writes one row of partial sums: few long
    programs move least. But the last ones leave a GPU idle: there are to be three times as many as
    run at a time.

    Args:
        batch: Images, as in the key: the same configurations for the same key.
        channels: Of an image.
        height: Of an image.
        width: Of an image.
        tiles: COLUMNS, BLOCK_S, BLOCK_C, num_warps of each.
        resident: Programs that a multiprocessor runs at a time.
        repeats: How many strips a thread may do, the most first.
    """
    configs = []
    for columns, strips, block, warps in tiles:
        columns = min(columns, width)
        if channels <= 32:  # half of a block's channels would be empty
            strips, block = 2 * strips, 32
        count = -(-batch * -(-width // columns) // strips) * -(-channels // block)
        enough = 3 * resident * MULTIPROCESSORS
        parts = 1
        while count * parts < enough and height // parts > 2 * SHORTEST:
            parts += 1
        repeat = next((r for r in repeats if count * parts >= enough * r), 1)
        configs += [
            {
                "COLUMNS": columns,
                "BLOCK_S": strips,
                "BLOCK_C": block,
                "ROWS": rows,
                "REPEAT": repeat,
                "num_warps": warps,
            }
            for rows in sorted({-(-height // parts), -(-height // (2 * parts))}, reverse=True)
        ]
    return configs


def _key(z: Tensor, *flags: Any) -> tuple[Any, ...]:
    """What the best configuration depends on; batch sizes are rounded up to powers of two."""
    return (str(z.dtype), *_size(z), *flags)


def block_of(channels: int) -> int:
    """Channels of a block: 64, or as many as there are where the stem has fewer."""
    return max(16, min(64, 1 << (channels - 1).bit_length()))


def channels_last_like(tensor: Tensor) -> Tensor:
    """An uninitialised channels_last tensor of the same size and type."""
    return torch.empty_like(tensor, memory_format=torch.channels_last)


def empty_tap(z: Tensor, tap: str) -> Tensor:
    """An uninitialised tensor for the second result of the depthwise convolution."""
    batch, channels, height, width = z.shape
    if tap == "none":
        return z.new_empty(0)
    if tap == "sum":
        return channels_last_like(z)
    size = (batch, channels, (height + 1) // 2, (width + 1) // 2)
    return torch.empty(size, dtype=z.dtype, device=z.device, memory_format=torch.channels_last)


def gradient_of_tap(gradient: Tensor | None, z: Tensor, tap: str) -> Tensor:
    """The gradient of the second result; zeros where nothing used it."""
    if gradient is not None:
        return gradient
    return empty_tap(z, tap) if tap == "none" else empty_tap(z, tap).zero_()


@as_given
def launch_forward(
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    weight: Tensor,
    relu: bool,
    tap: str,
) -> tuple[Tensor, Tensor]:
    """Runs the forward kernel; arguments and results as in :mod:`xception.kernels.reference`."""
    from xception.kernels.depthwise_triton import depthwise_forward

    z = as_channels_last(z)
    weight = weight.contiguous()
    residual = None if residual is None else as_channels_last(residual)
    out, tapped = channels_last_like(z), empty_tap(z, tap)
    batch, channels, height, width = z.shape

    def launch(config: tuning.Config) -> None:
        columns, rows = min(config["COLUMNS"], width), min(config["ROWS"], height)
        strips = batch * blocks_for(width, columns)
        blocks = blocks_for(channels, config["BLOCK_C"])
        start(
            depthwise_forward,
            (blocks_for(strips, config["BLOCK_S"]) * blocks, blocks_for(height, rows)),
            z,
            z if scale is None else scale,
            z if shift is None else shift,
            z if residual is None else residual,
            weight,
            out,
            tapped,
            batch,
            height,
            width,
            rows,
            C=channels,
            AFFINE=scale is not None,
            RESIDUAL=residual is not None,
            RELU=relu,
            TAP=TAPS.index(tap),
            OVERLAP=-width % columns,
            COLUMNS=columns,
            BLOCK_S=config["BLOCK_S"],
            BLOCK_C=config["BLOCK_C"],
            num_warps=config["num_warps"],
        )

    key = _key(z, scale is not None, residual is not None, relu, tap)
    launch(tuning.choose("depthwise", key, forward_candidates(z), launch))
    return out, tapped


@as_given
def launch_backward(
    grad_out: Tensor,
    grad_tap: Tensor,
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    weight: Tensor,
    relu: bool,
    tap: str,
) -> Gradients:
    """Runs the backward kernel; arguments and results as in :mod:`xception.kernels.reference`."""
    from xception.kernels.depthwise_backward_triton import depthwise_backward

    z, grad_out = as_channels_last(z), as_channels_last(grad_out.to(z.dtype))
    grad_tap = grad_tap if tap == "none" else as_channels_last(grad_tap.to(z.dtype))
    weight = weight.contiguous()
    residual = None if residual is None else as_channels_last(residual)
    grad_z = channels_last_like(z)
    grad_residual = z.new_empty(0) if residual is None else channels_last_like(z)
    batch, channels, height, width = z.shape

    def launch(config: tuning.Config) -> tuple[Tensor, Tensor, Tensor]:
        columns, rows = min(config["COLUMNS"], width), min(config["ROWS"], height)
        strips = batch * blocks_for(width, columns)
        programs = blocks_for(strips, config["BLOCK_S"] * config["REPEAT"])
        blocks, parts = blocks_for(channels, config["BLOCK_C"]), blocks_for(height, rows)
        count = 9 if scale is None else 11
        partial = z.new_empty((programs * parts, count, channels), dtype=torch.float32)
        start(
            depthwise_backward,
            (programs * blocks, parts),
            grad_out,
            grad_tap,
            z,
            z if scale is None else scale,
            z if shift is None else shift,
            z if residual is None else residual,
            weight,
            grad_z,
            grad_residual,
            partial,
            batch,
            height,
            width,
            rows,
            config["REPEAT"],
            C=channels,
            AFFINE=scale is not None,
            RESIDUAL=residual is not None,
            RELU=relu,
            TAP=TAPS.index(tap),
            OVERLAP=-width % columns,
            COLUMNS=columns,
            BLOCK_S=config["BLOCK_S"],
            BLOCK_C=config["BLOCK_C"],
            num_warps=config["num_warps"],
        )
        return added_up(partial, torch.empty_like(weight))

    key = _key(z, scale is not None, residual is not None, relu, tap)
    candidates = backward_candidates(z)
    choice = tuning.choose("depthwise_backward", key, candidates, launch)
    grad_weight, grad_scale, grad_shift = launch(choice)
    return grad_z, grad_residual, grad_scale, grad_shift, grad_weight
