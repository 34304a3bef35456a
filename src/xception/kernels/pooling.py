"""Kernel 5: the end of a downsampling module (figure 5): max pool of a BatchNorm, plus shortcut.

Both normalisations, the 3x3 stride-2 pooling and the sum are one pass over the branch: neither
normalised tensor goes to memory.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from xception.kernels import reference
from xception.kernels.dispatch import given_or_zeros, runs_kernel
from xception.kernels.pooling_launch import Gradients, launch_backward, launch_forward, pooled_like


def pool_and_add(
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    *,
    shortcut: Tensor | None = None,
    shortcut_scale: Tensor | None = None,
    shortcut_shift: Tensor | None = None,
    padding: tuple[int, int] = (1, 1),
) -> Tensor:
    """3x3 stride-2 max pool of scale · z + shift, plus a normalised shortcut.

    Args:
        z: (N, C, H, W) float32, float16 or bfloat16; read as channels_last.
        scale: (C,) float32.
        shift: (C,) float32.
        shortcut: (N, C, ceil(H/2), ceil(W/2)) like z, or None for no shortcut.
        shortcut_scale: (C,) float32, given exactly when the shortcut is.
        shortcut_shift: (C,) float32, given exactly when the shortcut is.
        padding: Rows above and columns left of the image that the first window begins with, 0 or
            1: (H % 2, W % 2) is TensorFlow's SAME, (1, 1) is ``MaxPool2d(3, 2, padding=1)``.

    Returns:
        (N, C, ceil(H/2), ceil(W/2)), channels_last, of z's type. Gradients flow into all tensors.
    """
    tensors = (z, scale, shift, shortcut, shortcut_scale, shortcut_shift)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    return _pool(*tensors, list(padding), save)[0]


@custom_op("xception::pool", mutates_args=(), device_types="cuda")
def _pool(
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    shortcut: Tensor | None,
    shortcut_scale: Tensor | None,
    shortcut_shift: Tensor | None,
    padding: list[int],
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return launch_forward(z, scale, shift, shortcut, shortcut_scale, shortcut_shift, padding, save)


@_pool.register_kernel("cpu")
def _pool_cpu(z: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return (launch_forward if runs_kernel(z) else reference.pool)(z, *rest)


@_pool.register_fake
def _pool_fake(
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    shortcut: Tensor | None,
    shortcut_scale: Tensor | None,
    shortcut_shift: Tensor | None,
    padding: list[int],
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    out = pooled_like(z, z.dtype)
    if not save:
        return out, z.new_empty(0), z.new_empty(0, dtype=torch.int8)
    return out, torch.empty_like(out), pooled_like(z, torch.int8)


@custom_op("xception::pool_backward", mutates_args=(), device_types="cuda")
def _pool_backward(
    grad: Tensor,
    selected: Tensor,
    index: Tensor,
    scale: Tensor,
    shortcut: Tensor | None,
    shortcut_scale: Tensor | None,
    size: list[int],
    padding: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return launch_backward(grad, selected, index, scale, shortcut, shortcut_scale, size, padding)


@_pool_backward.register_kernel("cpu")
def _pool_backward_cpu(grad: Tensor, *rest: Any) -> Gradients:
    return (launch_backward if runs_kernel(grad) else reference.pool_backward)(grad, *rest)


@_pool_backward.register_fake
def _pool_backward_fake(
    grad: Tensor,
    selected: Tensor,
    index: Tensor,
    scale: Tensor,
    shortcut: Tensor | None,
    shortcut_scale: Tensor | None,
    size: list[int],
    padding: list[int],
) -> Gradients:
    grad_z = torch.empty(
        size, dtype=selected.dtype, device=grad.device, memory_format=torch.channels_last
    )
    none = torch.empty_like(scale[:0])
    vectors = (torch.empty_like(scale), torch.empty_like(scale))
    if shortcut is None:
        return (grad_z, *vectors, selected.new_empty(0), none, torch.empty_like(none))
    return (
        grad_z,
        *vectors,
        torch.empty_like(selected),
        torch.empty_like(scale),
        torch.empty_like(scale),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    z, scale, _, shortcut, shortcut_scale, _, ctx.padding, _ = inputs
    ctx.size = list(z.shape)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(output[1], output[2], scale, shortcut, shortcut_scale)


def _backward(
    ctx: Any, grad: Tensor | None, grad_selected: Tensor | None, grad_index: Tensor | None
) -> tuple[Tensor | None, ...]:
    selected, index, scale, shortcut, shortcut_scale = ctx.saved_tensors
    grad = given_or_zeros(grad, selected)
    grads = _pool_backward(
        grad, selected, index, scale, shortcut, shortcut_scale, ctx.size, ctx.padding
    )
    if shortcut is None:
        grads = (*grads[:3], None, None, None)
    return (*grads, None, None)


_pool.register_autograd(_backward, setup_context=_save)
