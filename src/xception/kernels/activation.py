"""BatchNorm and ReLU on their own, where the next layer is the library's and reads an activation.

That is so in front of the stem's second convolution (figure 5) and behind the last separable one.
In plain PyTorch the normalisation of half precision by float32 vectors goes through float32 maps:
at batch 256 and 299x299 a step would move 21 GB for the stem, and moves 4.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from xception.kernels import reference, tuning
from xception.kernels.compilation import blocks_for, start
from xception.kernels.depthwise_launch import block_of, channels_last_like
from xception.kernels.dispatch import as_channels_last, as_given, rows_of, runs_kernel
from xception.kernels.sums_launch import added_up


def activation(z: Tensor, scale: Tensor, shift: Tensor, relu: bool) -> Tensor:
    """ReLU(scale · z + shift), in z's type.

    Args:
        z: (N, C, H, W) float32, float16 or bfloat16; read as channels_last.
        scale: (C,) float32.
        shift: (C,) float32.
        relu: Whether there is a ReLU.

    Returns:
        (N, C, H, W), channels_last. Gradients flow into z, scale and shift.
    """
    return _activation(z, scale, shift, relu)


@custom_op("xception::activation", mutates_args=(), device_types="cuda")
def _activation(z: Tensor, scale: Tensor, shift: Tensor, relu: bool) -> Tensor:
    return launch_forward(z, scale, shift, relu)


@_activation.register_kernel("cpu")
def _activation_cpu(z: Tensor, scale: Tensor, shift: Tensor, relu: bool) -> Tensor:
    return (launch_forward if runs_kernel(z) else reference.activation)(z, scale, shift, relu)


@_activation.register_fake
def _activation_fake(z: Tensor, scale: Tensor, shift: Tensor, relu: bool) -> Tensor:
    return channels_last_like(z)


@custom_op("xception::activation_backward", mutates_args=(), device_types="cuda")
def _activation_backward(
    grad: Tensor, z: Tensor, scale: Tensor, shift: Tensor, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return launch_backward(grad, z, scale, shift, relu)


@_activation_backward.register_kernel("cpu")
def _activation_backward_cpu(
    grad: Tensor, z: Tensor, scale: Tensor, shift: Tensor, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    run = launch_backward if runs_kernel(z) else reference.activation_backward
    return run(grad, z, scale, shift, relu)


@_activation_backward.register_fake
def _activation_backward_fake(
    grad: Tensor, z: Tensor, scale: Tensor, shift: Tensor, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return channels_last_like(z), torch.empty_like(scale), torch.empty_like(shift)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    z, scale, shift, ctx.relu = inputs
    ctx.save_for_backward(z, scale, shift)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_activation_backward(grad, *ctx.saved_tensors, ctx.relu), None


_activation.register_autograd(_backward, setup_context=_save)


@as_given
def launch_forward(z: Tensor, scale: Tensor, shift: Tensor, relu: bool) -> Tensor:
    """Runs the forward kernel."""
    from xception.kernels.activation_triton import activation_forward

    z = as_channels_last(z)
    out = channels_last_like(z)
    rows, columns = rows_of(z).shape

    def launch(config: tuning.Config) -> None:
        grid = (blocks_for(rows, config["BLOCK_M"]), blocks_for(columns, config["BLOCK_C"]))
        start(activation_forward, grid, z, scale, shift, out, rows, C=columns, RELU=relu, **config)

    candidates = [
        {"BLOCK_M": block_m, "BLOCK_C": block_of(columns), "num_warps": 4} for block_m in (32, 16)
    ]
    key = (str(z.dtype), tuning.power_of_two(rows), columns, relu)
    launch(tuning.choose("activation", key, candidates, launch))
    return out


@as_given
def launch_backward(
    grad: Tensor, z: Tensor, scale: Tensor, shift: Tensor, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the backward kernel: gradients of z, scale and shift."""
    from xception.kernels.activation_triton import activation_backward

    z, grad = as_channels_last(z), as_channels_last(grad.to(z.dtype))
    grad_z = channels_last_like(z)
    rows, columns = rows_of(z).shape

    def launch(config: tuning.Config) -> tuple[Tensor, Tensor, Tensor]:
        programs = blocks_for(rows, config["ROWS"])
        partial = z.new_empty((programs, 2, columns), dtype=torch.float32)
        grid = (programs, blocks_for(columns, config["BLOCK_C"]))
        start(
            activation_backward,
            grid,
            grad,
            z,
            scale,
            shift,
            grad_z,
            partial,
            rows,
            C=columns,
            RELU=relu,
            **config,
        )
        return added_up(partial)

    candidates = [
        {"ROWS": rows_each, "BLOCK_M": 32, "BLOCK_C": block_of(columns), "num_warps": 4}
        for rows_each in (1024, 256)
    ]
    key = (str(z.dtype), tuning.power_of_two(rows), columns, relu)
    grad_scale, grad_shift, _ = launch(
        tuning.choose("activation_backward", key, candidates, launch)
    )
    return grad_z, grad_scale, grad_shift
