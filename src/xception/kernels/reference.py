"""The fused operators in plain PyTorch: what the kernels compute, line by line.

They run on CPU tensors, and the tests hold the kernels against them. Half precision is computed in
float32 and rounded once at the end, as the kernels do; float64 stays float64.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from xception.kernels.dispatch import as_channels_last, as_given

# The functions that stand in for kernels; tests make them raise to prove that a kernel ran.
OPERATORS = (
    "depthwise",
    "depthwise_backward",
    "pointwise",
    "pointwise_backward",
    "separable",
    "convolution",
    "combine",
    "activation",
    "activation_backward",
    "pool",
    "pool_backward",
)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _per_channel(vector: Tensor, dtype: torch.dtype) -> Tensor:
    return vector.to(dtype).view(1, -1, 1, 1)


@as_given
def depthwise(
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    weight: Tensor,
    relu: bool,
    tap: str,
) -> tuple[Tensor, Tensor]:
    """Convolution and tap, as described in :func:`xception.kernels.depthwise.depthwise`."""
    wide = _wide(z.dtype)
    before = _normalized(z, scale, shift, residual, wide)
    activation = F.relu(before) if relu else before
    out = F.conv2d(activation, weight.to(wide), padding=1, groups=z.shape[1])
    tapped = {
        "none": z.new_empty(0),
        "sum": before,
        "strided": before[:, :, ::2, ::2],
        "strided-relu": activation[:, :, ::2, ::2],
    }[tap]
    if tap != "none":
        # clone: an operator's result must not share memory with its arguments
        tapped = tapped.to(z.dtype).clone(memory_format=torch.channels_last)
    return as_channels_last(out.to(z.dtype)), tapped


@as_given
def depthwise_backward(
    grad_out: Tensor,
    grad_tap: Tensor,
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    weight: Tensor,
    relu: bool,
    tap: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of z, residual, scale, shift and weight; empty tensors where there is no input."""
    wide = _wide(z.dtype)
    channels = z.shape[1]
    before = _normalized(z, scale, shift, residual, wide)
    activation = F.relu(before) if relu else before
    grad, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad_out.to(wide),
        activation,
        weight.to(wide),
        None,
        [1, 1],
        [1, 1],
        [1, 1],
        False,
        [0, 0],
        channels,
        [True, True, False],
    )
    if tap == "strided-relu":
        grad = grad.clone()
        grad[:, :, ::2, ::2] += grad_tap.to(wide)
    if relu:
        grad = grad * (before > 0)
    if tap == "strided":
        grad = grad.clone()
        grad[:, :, ::2, ::2] += grad_tap.to(wide)
    if tap == "sum":
        grad = grad + grad_tap.to(wide)
    empty = z.new_empty(0)
    grad_residual = empty if residual is None else as_channels_last(grad.to(z.dtype).clone())
    grad_scale, grad_shift = z.new_empty(0, dtype=wide), z.new_empty(0, dtype=wide)
    grad_z = grad
    if scale is not None:
        grad_scale = (grad * z.to(wide)).sum((0, 2, 3))
        grad_shift = grad.sum((0, 2, 3))
        grad_z = grad * _per_channel(scale, wide)
    grad_z = as_channels_last(grad_z.to(z.dtype))
    return grad_z, grad_residual, grad_scale, grad_shift, grad_weight.to(weight.dtype)


@as_given
def pointwise(
    x: Tensor, weight: Tensor, center: Tensor, statistics: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The product and its sums, as described in :func:`xception.kernels.pointwise.pointwise`."""
    wide = _wide(x.dtype)
    z = as_channels_last(F.conv2d(x.to(wide), weight.to(wide)).to(x.dtype))
    if not statistics:
        return z, torch.empty_like(center), torch.empty_like(center)
    return z, *_sums(z, center)


@as_given
def pointwise_backward(
    grad: Tensor,
    grad_sum: Tensor,
    grad_squares: Tensor,
    z: Tensor,
    x: Tensor,
    weight: Tensor,
    center: Tensor,
    statistics: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight, from those of the product and of its sums."""
    wide = _wide(x.dtype)
    grad = grad.to(wide)
    if statistics:
        grad = combine(grad, z, center, grad_sum, grad_squares)
    grad_x = torch.einsum("nohw,oi->nihw", grad, weight.to(wide)[:, :, 0, 0])
    grad_weight = torch.einsum("nohw,nihw->oi", grad, x.to(wide))
    return as_channels_last(grad_x.to(x.dtype)), grad_weight.reshape(weight.shape).to(weight.dtype)


def separable(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The product, its sums, the tap and, if it is to be saved, the depthwise result."""
    spatial, tapped = depthwise(z, scale, shift, None, depthwise_weight, relu, tap)
    out, total, squares = pointwise(spatial, pointwise_weight, center, statistics)
    return out, total, squares, tapped, spatial if save else z.new_empty(0)


@as_given
def convolution(
    x: Tensor, weight: Tensor, center: Tensor, statistics: bool, stride: int, padding: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Result and sums, as described in :func:`xception.kernels.convolution.convolution`."""
    wide = _wide(x.dtype)
    z = F.conv2d(x.to(wide), weight.to(wide), None, stride, padding).to(x.dtype)
    z = as_channels_last(z)
    if not statistics:
        return z, torch.empty_like(center), torch.empty_like(center)
    return z, *_sums(z, center)


@as_given
def combine(
    grad: Tensor, z: Tensor, center: Tensor, grad_sum: Tensor, grad_squares: Tensor
) -> Tensor:
    """Gradient of z (N, C, H, W), from its own and those of its channels' sums; of grad's type."""
    wide = _wide(z.dtype)
    centered = z.to(wide) - _per_channel(center, wide)
    total = grad.to(wide) + _per_channel(grad_sum, wide)
    total = total + 2 * centered * _per_channel(grad_squares, wide)
    return total.to(grad.dtype)


@as_given
def activation(z: Tensor, scale: Tensor, shift: Tensor, relu: bool) -> Tensor:
    """ReLU(scale · z + shift), of z's type."""
    value = _normalized(z, scale, shift, None, _wide(z.dtype))
    return as_channels_last((F.relu(value) if relu else value).to(z.dtype))


@as_given
def activation_backward(
    grad: Tensor, z: Tensor, scale: Tensor, shift: Tensor, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of z, scale and shift."""
    wide = _wide(z.dtype)
    grad = grad.to(wide)
    if relu:
        grad = grad * (_normalized(z, scale, shift, None, wide) > 0)
    grad_z = as_channels_last((grad * _per_channel(scale, wide)).to(z.dtype))
    return grad_z, (grad * z.to(wide)).sum((0, 2, 3)), grad.sum((0, 2, 3))


@as_given
def pool(
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    shortcut: Tensor | None,
    shortcut_scale: Tensor | None,
    shortcut_shift: Tensor | None,
    padding: list[int],
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The pooled sum, the selected values of z, and which of the nine pixels each one was."""
    wide = _wide(z.dtype)
    windows = _windows(_normalized(z, scale, shift, None, wide), padding, float("-inf"))
    best, index = windows.max(2)
    if shortcut is not None:
        best = best + _normalized(shortcut, shortcut_scale, shortcut_shift, None, wide)
    out = as_channels_last(best.to(z.dtype))
    if not save:
        return out, z.new_empty(0), z.new_empty(0, dtype=torch.int8)
    selected = _windows(z.to(wide), padding, 0.0).gather(2, index[:, :, None])[:, :, 0]
    return out, as_channels_last(selected.to(z.dtype)), as_channels_last(index.to(torch.int8))


@as_given
def pool_backward(
    grad: Tensor,
    selected: Tensor,
    index: Tensor,
    scale: Tensor,
    shortcut: Tensor | None,
    shortcut_scale: Tensor | None,
    size: list[int],
    padding: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of z, its scale and shift, then of the shortcut, its scale and shift."""
    wide = _wide(selected.dtype)
    grad = grad.to(wide)
    # One more row and column than the windows can reach, on every side.
    padded = grad.new_zeros((size[0], size[1], size[2] + 4, size[3] + 4))
    for position in range(9):
        top, left = position // 3 - padding[0] + 1, position % 3 - padding[1] + 1
        view = padded[:, :, top::2, left::2][:, :, : grad.shape[2], : grad.shape[3]]
        view += grad * (index == position)
    grad_z = padded[:, :, 1 : size[2] + 1, 1 : size[3] + 1] * _per_channel(scale, wide)
    grad_scale, grad_shift = (grad * selected).sum((0, 2, 3)), grad.sum((0, 2, 3))
    results = (as_channels_last(grad_z.to(selected.dtype)), grad_scale, grad_shift)
    if shortcut is None or shortcut_scale is None:
        none = grad_scale.new_empty(0)
        return (*results, selected.new_empty(0), none, none.clone())
    grad_shortcut = as_channels_last((grad * _per_channel(shortcut_scale, wide)).to(selected.dtype))
    return (*results, grad_shortcut, (grad * shortcut).sum((0, 2, 3)), grad_shift.clone())


def _windows(images: Tensor, padding: list[int], fill: float) -> Tensor:
    """The nine shifted and strided copies (N, C, 9, ceil(H/2), ceil(W/2)) that a pool compares."""
    height, width = images.shape[2:]
    top, left = padding
    images = F.pad(images, (left, 3 - left, top, 3 - top), value=fill)
    positions = [(row, column) for row in range(3) for column in range(3)]
    return torch.stack(
        [images[:, :, row : row + height : 2, left : left + width : 2] for row, left in positions],
        2,
    )


def _sums(z: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    """Per channel: the sum of z - center and of its square."""
    wide = _wide(z.dtype)
    centered = z.to(wide) - _per_channel(center, wide)
    return centered.sum((0, 2, 3)), centered.square().sum((0, 2, 3))


def _normalized(
    z: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    wide: torch.dtype,
) -> Tensor:
    """The sum scale · z + shift + residual, leaving out what is None."""
    before = z.to(wide)
    if scale is not None and shift is not None:
        before = before * _per_channel(scale, wide) + _per_channel(shift, wide)
    if residual is not None:
        before = before + residual.to(wide)
    return before
