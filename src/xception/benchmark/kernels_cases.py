"""Every fused kernel at every size at which Xception runs it, with bytes, operations and oracle."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xception.kernels.activation import activation
from xception.kernels.depthwise import depthwise
from xception.kernels.pointwise import pointwise
from xception.kernels.pointwise_backward_launch import MOST_INPUTS, MOST_OUTPUTS
from xception.kernels.pooling import pool_and_add
from xception.kernels.separable import covers, separable

Pair = tuple[Callable[..., tuple[Tensor, ...]], Callable[..., tuple[Tensor, ...]]]

# Height, input and output channels of the separable convolutions at 299x299, and their number.
UNITS = [
    (147, 64, 128, 1),
    (147, 128, 128, 1),
    (74, 128, 256, 1),
    (74, 256, 256, 1),
    (37, 256, 728, 1),
    (37, 728, 728, 1),
    (19, 728, 728, 25),
    (19, 728, 1024, 1),
    (10, 1024, 1536, 1),
    (10, 1536, 2048, 1),
]
# Height and channels of the max pools.
POOLS = [(147, 128), (74, 256), (37, 728), (19, 1024)]
# And where an activation is written: behind the first convolution, and at the end.
ACTIVATIONS = [(149, 32), (10, 2048)]


@dataclass
class Case:
    """One kernel at one size.

    Attributes:
        kernel: Its name.
        size: For the table.
        count: How often a training step runs it.
        gigabytes: That it must move at least, each tensor once.
        teraflop: Of its matrix products.
        fused: Runs the kernel, given the inputs.
        plain: The same in plain PyTorch.
        inputs: Tensors; those that require gradients are differentiated when ``backward``.
        backward: Whether the backward pass is what is timed.
        summed: Whether a step runs it; False for alternatives to other kernels.
    """

    kernel: str
    size: str
    count: int
    gigabytes: float
    teraflop: float
    fused: Callable[..., tuple[Tensor, ...]]
    plain: Callable[..., tuple[Tensor, ...]]
    inputs: list[Tensor]
    backward: bool
    summed: bool = True

    @property
    def name(self) -> str:
        """Kernel and size."""
        return f"{self.kernel}, {self.size}"

    def runner(self, function: Callable[..., tuple[Tensor, ...]]) -> Callable[[], object]:
        """What is timed: the forward pass without gradients, or the backward pass alone."""
        if not self.backward:

            def forward() -> object:
                with torch.no_grad():
                    return function(*self.inputs)

            return forward
        leaves = [tensor.detach().requires_grad_() for tensor in self.inputs]
        outputs = [out for out in function(*leaves) if out.numel()]
        grads = [torch.randn_like(out) for out in outputs]
        return lambda: torch.autograd.grad(outputs, leaves, grads, retain_graph=True)

    def relative_error(self) -> float:
        """Largest error of the outputs, or gradients, that are timed; over the largest of float64.

        A forward case runs no backward kernel, for which nothing has been chosen yet.

        In float64 a value in front of the ReLU has the sign that a fused multiply and add gives it,
        so that both let the same gradients through.
        """
        torch.manual_seed(0)
        half = _values(self.fused, self.inputs, self.backward)
        torch.manual_seed(0)
        doubles = [tensor.double() for tensor in self.inputs]
        exact = _values(self.plain, doubles, self.backward)
        errors = [
            ((ours.double() - other).abs().max() / other.abs().max().clamp_min(1e-6)).item()
            for ours, other in zip(half, exact, strict=True)
        ]
        return max(errors)


def cases(batch: int, device: str, dtype: torch.dtype, scale: float = 1.0) -> Iterator[Case]:
    """All cases, built one after the other to save memory.

    Args:
        batch: Images.
        device: "cuda", or "cpu" for a smoke test.
        dtype: Type of the activations.
        scale: Factor on heights, for the smoke test.
    """
    for height, inputs, outputs, count in UNITS:
        size = max(3, int(height * scale))
        yield from _unit_cases(batch, size, inputs, outputs, count, device, dtype)
    for height, channels in POOLS:
        yield from _pool_cases(batch, max(3, int(height * scale)), channels, device, dtype)
    for height, channels in ACTIVATIONS:
        yield from _activation_cases(batch, max(3, int(height * scale)), channels, device, dtype)


def _unit_cases(
    batch: int,
    height: int,
    inputs: int,
    outputs: int,
    count: int,
    device: str,
    dtype: torch.dtype,
) -> Iterator[Case]:
    pixels = batch * height * height
    bytes_in, bytes_out = (pixels * c * dtype.itemsize / 1e9 for c in (inputs, outputs))
    teraflop = 2 * pixels * inputs * outputs / 1e12
    size = f"{height}x{height}, {inputs}-{outputs}"
    z = _images(batch, inputs, height, device, dtype)
    scale, shift = torch.rand(inputs, device=device) + 0.5, torch.randn(inputs, device=device)
    filters = torch.randn(inputs, 1, 3, 3, device=device) / 3
    weight = (torch.randn(outputs, inputs, 1, 1, device=device) * inputs**-0.5).to(dtype)
    center = torch.zeros(outputs, device=device)

    def fused_depthwise(z: Tensor, scale: Tensor, shift: Tensor, filters: Tensor) -> tuple[Tensor]:
        return (depthwise(z, filters, scale=scale, shift=shift)[0],)

    def plain_depthwise(z: Tensor, scale: Tensor, shift: Tensor, filters: Tensor) -> tuple[Tensor]:
        normalized = z * _vector(scale, z) + _vector(shift, z)
        return (F.conv2d(F.relu(normalized), filters.to(z.dtype), padding=1, groups=z.shape[1]),)

    def fused_pointwise(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        return pointwise(x, weight, center=center)

    def plain_pointwise(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        z = F.conv2d(x, weight)
        wide = torch.promote_types(z.dtype, torch.float32)
        return z, z.sum((0, 2, 3), dtype=wide), z.to(wide).square().sum((0, 2, 3))

    def fused_separable(
        z: Tensor, scale: Tensor, shift: Tensor, filters: Tensor, weight: Tensor
    ) -> tuple[Tensor, ...]:
        return separable(z, filters, weight, scale=scale, shift=shift, center=center)[:3]

    def plain_separable(
        z: Tensor, scale: Tensor, shift: Tensor, filters: Tensor, weight: Tensor
    ) -> tuple[Tensor, ...]:
        return plain_pointwise(plain_depthwise(z, scale, shift, filters)[0], weight)

    normed = [z, scale, shift, filters]
    both: Pair = (fused_depthwise, plain_depthwise)
    yield Case("depthwise", size, count, 2 * bytes_in, 0, *both, normed, False)
    yield Case("depthwise backward", size, count, 3 * bytes_in, 0, *both, normed, True)
    both = (fused_pointwise, plain_pointwise)
    moved = bytes_in + bytes_out
    yield Case("pointwise", size, count, moved, teraflop, *both, [z, weight], False)
    # Gradient and z in, input in, its gradient out; by the library joined gradient out and in, too.
    at_once = inputs <= MOST_INPUTS and outputs <= MOST_OUTPUTS
    moved = (2 if at_once else 4) * bytes_out + 2 * bytes_in
    yield Case("pointwise backward", size, count, moved, 2 * teraflop, *both, [z, weight], True)
    if covers(outputs):
        both = (fused_separable, plain_separable)
        moved = bytes_in + bytes_out
        yield Case(
            "separable", size, count, moved, teraflop, *both, [*normed, weight], False, summed=False
        )


def _pool_cases(
    batch: int, height: int, channels: int, device: str, dtype: torch.dtype
) -> Iterator[Case]:
    half = (height + 1) // 2
    full = batch * height * height * channels * dtype.itemsize / 1e9
    quarter = batch * half * half * channels * dtype.itemsize / 1e9
    z = _images(batch, channels, height, device, dtype)
    shortcut = _images(batch, channels, half, device, dtype)
    vectors = [torch.randn(channels, device=device) for _ in range(4)]
    vectors[0] = vectors[0].abs() + 0.5  # a scale of about 0 would make the maximum a tie
    inputs = [z, vectors[0], vectors[1], shortcut, vectors[2], vectors[3]]

    def fused(z: Tensor, a: Tensor, b: Tensor, s: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor]:
        out = pool_and_add(z, a, b, shortcut=s, shortcut_scale=c, shortcut_shift=d)
        return (out,)

    def plain(z: Tensor, a: Tensor, b: Tensor, s: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor]:
        pooled = F.max_pool2d(z * _vector(a, z) + _vector(b, z), 3, 2, 1)
        return (pooled + (s * _vector(c, z) + _vector(d, z)),)

    size = f"{height}x{height}, {channels}"
    yield Case("pool", size, 1, full + 2 * quarter, 0, fused, plain, inputs, False)
    # Gradient twice, selected values, shortcut, its gradient; the index has one byte.
    moved = full + (5 + 1 / dtype.itemsize) * quarter
    yield Case("pool backward", size, 1, moved, 0, fused, plain, inputs, True)


def _activation_cases(
    batch: int, height: int, channels: int, device: str, dtype: torch.dtype
) -> Iterator[Case]:
    bytes_in = batch * height * height * channels * dtype.itemsize / 1e9
    z = _images(batch, channels, height, device, dtype)
    inputs = [z, torch.rand(channels, device=device) + 0.5, torch.randn(channels, device=device)]

    def fused(z: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor]:
        return (activation(z, scale, shift, True),)

    def plain(z: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor]:
        return (F.relu(z * _vector(scale, z) + _vector(shift, z)),)

    size = f"{height}x{height}, {channels}"
    yield Case("activation", size, 1, 2 * bytes_in, 0, fused, plain, inputs, False)
    yield Case("activation backward", size, 1, 3 * bytes_in, 0, fused, plain, inputs, True)


def _values(
    function: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor], gradients: bool
) -> list[Tensor]:
    """Outputs, or gradients for a random output gradient that depends on the seed alone."""
    if not gradients:
        with torch.no_grad():
            return [out for out in function(*inputs) if out.numel()]
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    out = function(*leaves)[0]
    grad = torch.randn(out.shape, device=out.device).to(out.dtype)
    return list(torch.autograd.grad(out, leaves, grad))


def _images(batch: int, channels: int, size: int, device: str, dtype: torch.dtype) -> Tensor:
    values = torch.randn(batch, channels, size, size, device=device, dtype=dtype)
    return values.to(memory_format=torch.channels_last)


def _vector(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).view(1, -1, 1, 1)
