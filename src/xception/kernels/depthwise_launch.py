"""Launches the depthwise kernels: sizes, grids and the configurations among which to choose."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from xception.kernels import tuning
from xception.kernels.compilation import start
from xception.kernels.dispatch import as_channels_last, as_given
from xception.kernels.sums_launch import added_up

Tap = Literal["none", "sum", "strided", "strided-relu"]
TAPS = get_args(Tap)
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def forward_candidates(height: int, channels: int) -> list[tuning.Config]:
    """Configurations of the forward kernel: four values per thread or eight, three slides.

    Args:
        height: Rows of an image.
        channels: Number of channels.
    """
    tiles = [(8, 64, 4), (4, 64, 2), (8, 64, 2), (4, 128, 4)]
    return [
        _config(tile, rows, 1, stages)
        for stages in (3, 1)
        for tile in tiles
        if _fits(tile, channels)
        for rows in _slides(height)
    ]


def backward_candidates(height: int, channels: int) -> list[tuning.Config]:
    """Configurations of the backward kernel: it holds more in registers, so tiles are smaller.

    Args:
        height: Rows of an image.
        channels: Number of channels.
    """
    tiles = [(8, 64, 4), (4, 64, 2), (4, 64, 4)]
    return [
        _config(tile, rows, images, stages)
        for stages in (3, 1)
        for tile in tiles
        if _fits(tile, channels)
        for rows, images in zip(_slides(height), (4, 4, 1), strict=False)
    ]


def _config(tile: tuple[int, int, int], rows: int, images: int, stages: int) -> tuning.Config:
    """One configuration.

    ``STAGES`` rows are under way from memory to shared memory at a time: without that, a thread
    waits for each row, and too few bytes are under way to fill the bandwidth.
    """
    width, channels, warps = tile
    return {
        "BLOCK_W": width,
        "BLOCK_C": channels,
        "ROWS": rows,
        "IMAGES": images,
        "STAGES": stages,
        "num_warps": warps,
    }


def _slides(height: int) -> list[int]:
    """How many rows a program slides down: long for large batches, short for a batch of one."""
    return sorted({height, max(height // 2, 8), 8}, reverse=True)


def _fits(tile: tuple[int, int, int], channels: int) -> bool:
    """Whether less than half of a tile's channels would be empty; the first tile is always kept."""
    return tile == (8, 64, 4) or tile[1] < 2 * channels


def _key(z: Tensor, *flags: Any) -> tuple[Any, ...]:
    """What the best configuration depends on; batch sizes are rounded up to powers of two."""
    batch, channels, height, width = z.shape
    return (str(z.dtype), tuning.power_of_two(batch), channels, height, width, *flags)


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
    import triton

    from xception.kernels.depthwise_triton import depthwise_forward

    z = as_channels_last(z)
    weight = weight.contiguous()
    residual = None if residual is None else as_channels_last(residual)
    out, tapped = channels_last_like(z), empty_tap(z, tap)
    batch, channels, height, width = z.shape

    def launch(config: tuning.Config) -> None:
        rows = min(config["ROWS"], height)
        grid = (
            batch * triton.cdiv(height, rows),
            triton.cdiv(width, config["BLOCK_W"]),
            triton.cdiv(channels, config["BLOCK_C"]),
        )
        start(
            depthwise_forward,
            grid,
            z,
            z if scale is None else scale,
            z if shift is None else shift,
            z if residual is None else residual,
            weight,
            out,
            tapped,
            height,
            width,
            rows,
            C=channels,
            AFFINE=scale is not None,
            RESIDUAL=residual is not None,
            RELU=relu,
            TAP=TAPS.index(tap),
            BLOCK_W=config["BLOCK_W"],
            BLOCK_C=config["BLOCK_C"],
            STAGES=config["STAGES"],
            num_warps=config["num_warps"],
        )

    key = _key(z, scale is not None, residual is not None, relu, tap)
    launch(tuning.choose("depthwise", key, forward_candidates(height, channels), launch))
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
    import triton

    from xception.kernels.depthwise_backward_triton import depthwise_backward

    z, grad_out = as_channels_last(z), as_channels_last(grad_out.to(z.dtype))
    grad_tap = grad_tap if tap == "none" else as_channels_last(grad_tap.to(z.dtype))
    weight = weight.contiguous()
    residual = None if residual is None else as_channels_last(residual)
    grad_z = channels_last_like(z)
    grad_residual = z.new_empty(0) if residual is None else channels_last_like(z)
    batch, channels, height, width = z.shape

    def launch(config: tuning.Config) -> tuple[Tensor, Tensor, Tensor]:
        rows = min(config["ROWS"], height)
        images = min(config["IMAGES"], batch)
        grid = (
            triton.cdiv(batch, images) * triton.cdiv(height, rows),
            triton.cdiv(width, config["BLOCK_W"]),
            triton.cdiv(channels, config["BLOCK_C"]),
        )
        count = 9 if scale is None else 11
        partial = z.new_empty((grid[0] * grid[1], count, channels), dtype=torch.float32)
        start(
            depthwise_backward,
            grid,
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
            images,
            C=channels,
            AFFINE=scale is not None,
            RESIDUAL=residual is not None,
            RELU=relu,
            TAP=TAPS.index(tap),
            BLOCK_W=config["BLOCK_W"],
            BLOCK_C=config["BLOCK_C"],
            STAGES=config["STAGES"],
            num_warps=config["num_warps"],
        )
        return added_up(partial, torch.empty_like(weight))

    key = _key(z, scale is not None, residual is not None, relu, tap)
    candidates = backward_candidates(height, channels)
    choice = tuning.choose("depthwise_backward", key, candidates, launch)
    grad_weight, grad_scale, grad_shift = launch(choice)
    return grad_z, grad_residual, grad_scale, grad_shift, grad_weight
