"""Launches the pooling kernels."""

import torch
from torch import Tensor

from xception.kernels import tuning
from xception.kernels.compilation import blocks_for, start
from xception.kernels.dispatch import as_channels_last, as_given
from xception.kernels.sums_launch import added_up

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def pooled_like(z: Tensor, dtype: torch.dtype) -> Tensor:
    """An uninitialised channels_last tensor of half the height and width, rounded up."""
    size = (z.shape[0], z.shape[1], (z.shape[2] + 1) // 2, (z.shape[3] + 1) // 2)
    return torch.empty(size, dtype=dtype, device=z.device, memory_format=torch.channels_last)


@as_given
def launch_forward(
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    shortcut: Tensor | None,
    shortcut_scale: Tensor | None,
    shortcut_shift: Tensor | None,
    padding: list[int],
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the forward kernel; arguments and results as in :mod:`xception.kernels.reference`."""
    from xception.kernels.pooling_triton import pool_forward

    z = as_channels_last(z)
    shortcut = None if shortcut is None else as_channels_last(shortcut)
    out = pooled_like(z, z.dtype)
    selected = pooled_like(z, z.dtype) if save else z.new_empty(0)
    index = pooled_like(z, torch.int8) if save else z.new_empty(0, dtype=torch.int8)
    batch, channels, height, width = z.shape
    pixels = out.numel() // channels

    def launch(config: tuning.Config) -> None:
        grid = (blocks_for(pixels, config["BLOCK_P"]), blocks_for(channels, config["BLOCK_C"]))
        start(
            pool_forward,
            grid,
            z,
            scale,
            shift,
            z if shortcut is None else shortcut,
            scale if shortcut_scale is None else shortcut_scale,
            shift if shortcut_shift is None else shortcut_shift,
            out,
            selected,
            index,
            batch,
            height,
            width,
            padding[0],
            padding[1],
            C=channels,
            SHORTCUT=shortcut is not None,
            SAVE=save,
            **config,
        )

    key = (*_key(z), shortcut is not None, save)
    launch(tuning.choose("pool", key, pixel_candidates(), launch))
    return out, selected, index


@as_given
def launch_backward(
    grad: Tensor,
    selected: Tensor,
    index: Tensor,
    scale: Tensor,
    shortcut: Tensor | None,
    shortcut_scale: Tensor | None,
    size: list[int],
    padding: list[int],
) -> Gradients:
    """Runs the backward kernels; arguments and results as in the reference."""
    from xception.kernels.pooling_triton import pool_backward, pool_sums

    grad = as_channels_last(grad.to(selected.dtype))
    shortcut = None if shortcut is None else as_channels_last(shortcut)
    batch, channels, height, width = size
    grad_z = torch.empty(
        size, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last
    )
    quads = batch * -(-(height + padding[0]) // 2) * -(-(width + padding[1]) // 2)

    def scatter(config: tuning.Config) -> None:
        grid = (blocks_for(quads, config["BLOCK_P"]), blocks_for(channels, config["BLOCK_C"]))
        start(
            pool_backward,
            grid,
            grad,
            index,
            scale,
            grad_z,
            batch,
            height,
            width,
            *padding,
            C=channels,
            **config,
        )

    scatter(tuning.choose("pool_backward", _key(grad_z), pixel_candidates(), scatter))

    grad_shortcut = grad.new_empty(0) if shortcut is None else torch.empty_like(grad)
    count = grad.numel() // channels

    def reduce(config: tuning.Config) -> tuple[Tensor, Tensor, Tensor]:
        programs = blocks_for(count, config["ROWS"])
        partial = grad.new_empty((programs, 3, channels), dtype=torch.float32)
        start(
            pool_sums,
            (programs, blocks_for(channels, config["BLOCK_C"])),
            grad,
            selected,
            selected if shortcut is None else shortcut,
            scale if shortcut_scale is None else shortcut_scale,
            grad_shortcut,
            partial,
            count,
            C=channels,
            SHORTCUT=shortcut is not None,
            **config,
        )
        return added_up(partial)

    key = (*_key(grad), shortcut is not None)
    sums = reduce(tuning.choose("pool_sums", key, row_candidates(), reduce))
    grad_scale, grad_shift, grad_shortcut_scale = sums
    if shortcut is None:
        none = grad_shift.new_empty(0)
        return grad_z, grad_scale, grad_shift, grad_shortcut, none, none.clone()
    return grad_z, grad_scale, grad_shift, grad_shortcut, grad_shortcut_scale, grad_shift.clone()


def pixel_candidates() -> list[tuning.Config]:
    """Configurations of the kernels that own a block of pixels; the first is predicted the best."""
    return [
        {"BLOCK_P": pixels, "BLOCK_C": channels, "num_warps": 4}
        for pixels, channels in ((16, 64), (8, 64), (8, 128))
    ]


def row_candidates() -> list[tuning.Config]:
    """Configurations of the kernel that sums over the output pixels."""
    return [{"ROWS": rows, "BLOCK_P": 16, "BLOCK_C": 64, "num_warps": 4} for rows in (256, 1024)]


def _key(tensor: Tensor) -> tuple[str | int, ...]:
    batch, channels, height, width = tensor.shape
    return (str(tensor.dtype), tuning.power_of_two(batch), channels, height, width)
