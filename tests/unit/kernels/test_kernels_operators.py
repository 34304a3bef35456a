"""The operators' registrations: fake tensors, autograd, and references against autograd."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from xception.kernels.activation import _activation, activation
from xception.kernels.convolution import _convolution, convolution
from xception.kernels.depthwise import _depthwise, depthwise
from xception.kernels.pointwise import _pointwise, pointwise
from xception.kernels.pooling import _pool, pool_and_add
from xception.kernels.separable import _separable, separable


def images(*size, dtype=torch.float32):
    values = torch.randn(size, dtype=dtype).to(memory_format=torch.channels_last)
    return values.requires_grad_()


def vector(channels, dtype=torch.float32):
    return torch.randn(channels, dtype=dtype).requires_grad_()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("tap", ["none", "sum", "strided", "strided-relu"])
@pytest.mark.parametrize("affine", [False, True])
def test_depthwise_passes_opcheck(tap, affine):
    scale, shift = (vector(4), vector(4)) if affine else (None, None)
    residual = images(2, 4, 3, 5) if tap == "sum" else None
    weight = torch.randn(4, 1, 3, 3, requires_grad=True)
    opcheck(_depthwise, (images(2, 4, 3, 5), scale, shift, residual, weight, True, tap))


@pytest.mark.parametrize("statistics", [False, True])
def test_pointwise_passes_opcheck(statistics):
    weight = torch.randn(6, 4, 1, 1, requires_grad=True)
    center = torch.randn(6) if statistics else torch.empty(0)
    opcheck(_pointwise, (images(2, 4, 3, 5), weight, center, statistics))


@pytest.mark.parametrize("with_shortcut", [False, True])
def test_pool_passes_opcheck(with_shortcut):
    shortcut = (images(2, 4, 2, 3), vector(4), vector(4)) if with_shortcut else (None,) * 3
    opcheck(_pool, (images(2, 4, 3, 5), vector(4), vector(4), *shortcut, [1, 0], True))


@pytest.mark.parametrize("tap", ["none", "strided"])
def test_separable_passes_opcheck(tap):
    weights = [torch.randn(4, 1, 3, 3), torch.randn(6, 4, 1, 1)]
    tensors = (images(2, 4, 3, 5), vector(4), vector(4), *(w.requires_grad_() for w in weights))
    opcheck(_separable, (*tensors, torch.randn(6), True, tap, True, True))


@pytest.mark.parametrize("statistics", [False, True])
def test_convolution_passes_opcheck(statistics):
    weight = torch.randn(6, 3, 3, 3, requires_grad=True)
    center = torch.randn(6) if statistics else torch.empty(0)
    opcheck(_convolution, (images(2, 3, 7, 5), weight, center, statistics, 2, 0))


def test_activation_passes_opcheck():
    opcheck(_activation, (images(2, 4, 3, 5), vector(4), vector(4), True))


def test_references_pass_gradcheck():
    # Finite differences in float64; values away from the kinks of ReLU and maximum.
    z = images(2, 3, 4, 3, dtype=torch.float64)
    weight = torch.randn(3, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    scale, shift = vector(3, torch.float64), vector(3, torch.float64)
    residual = images(2, 3, 4, 3, dtype=torch.float64)

    def fused(z, weight, scale, shift, residual):
        return depthwise(z, weight, scale=scale, shift=shift, residual=residual, tap="sum")

    assert torch.autograd.gradcheck(fused, (z, weight, scale, shift, residual), fast_mode=True)
    matrix = torch.randn(5, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    center = torch.randn(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, w: pointwise(x, w, center=center), (z, matrix))
    kernel = torch.randn(5, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w: convolution(x, w, stride=2, padding=1, center=center), (z, kernel)
    )
    assert torch.autograd.gradcheck(activation, (z, scale, shift, True), fast_mode=True)
    shortcut = images(2, 3, 2, 2, dtype=torch.float64)
    arguments = (z, scale, shift, shortcut, vector(3, torch.float64), vector(3, torch.float64))

    def pool(z, scale, shift, shortcut, shortcut_scale, shortcut_shift):
        return pool_and_add(
            z,
            scale,
            shift,
            shortcut=shortcut,
            shortcut_scale=shortcut_scale,
            shortcut_shift=shortcut_shift,
            padding=(0, 1),
        )

    assert torch.autograd.gradcheck(pool, arguments, fast_mode=True)


def cases_of_several_outputs():
    """A function of its leaves that returns several outputs, and the leaves."""
    z, scale, shift = images(2, 4, 3, 5), vector(4), vector(4)
    filters = torch.randn(4, 1, 3, 3, requires_grad=True)
    matrix = torch.randn(6, 4, 1, 1, requires_grad=True)
    weight = torch.randn(6, 4, 3, 3, requires_grad=True)
    center, affine = torch.randn(6), {"scale": scale, "shift": shift}
    return {
        "depthwise": (lambda: depthwise(z, filters, **affine, tap="sum"), (z, filters, scale)),
        "strided": (lambda: depthwise(z, filters, **affine, tap="strided"), (z, filters, scale)),
        "pointwise": (lambda: pointwise(z, matrix, center=center), (z, matrix)),
        "separable": (
            lambda: separable(z, filters, matrix, **affine, center=center, tap="strided"),
            (z, filters, matrix, shift),
        ),
        "convolution": (
            lambda: convolution(z, weight, stride=2, padding=1, center=center),
            (z, weight),
        ),
    }


@pytest.mark.parametrize("name", ["depthwise", "strided", "pointwise", "separable", "convolution"])
def test_an_output_that_nothing_uses_has_a_gradient_of_zero(name):
    function, leaves = cases_of_several_outputs()[name]
    grads = [torch.randn_like(output) for output in function()]
    for used in range(len(grads)):
        outputs = function()
        alone = torch.autograd.grad(outputs[used], leaves, grads[used])
        zeros = [grad if place == used else grad * 0 for place, grad in enumerate(grads)]
        expected = torch.autograd.grad(function(), leaves, zeros)
        torch.testing.assert_close(alone, expected, rtol=0, atol=0)


def test_pool_equals_torch_on_tied_values():
    # Post-ReLU maps are full of ties: the gradient goes where torch's pool sends it.
    z = images(2, 3, 7, 6)
    with torch.no_grad():
        z.relu_()
    grad = torch.randn(2, 3, 4, 3)
    one, zero = torch.ones(3), torch.zeros(3)
    ours = torch.autograd.grad(pool_and_add(z, one, zero, padding=(1, 1)), z, grad)
    torchs = torch.autograd.grad(F.max_pool2d(z, 3, 2, 1), z, grad)
    torch.testing.assert_close(ours, torchs, rtol=0, atol=1e-6)


def test_fake_cuda_results_are_channels_last():
    # What torch.compile believes of a GPU, checked without one.
    with FakeTensorMode():
        z = torch.empty(2, 8, 5, 6, device="cuda", dtype=torch.bfloat16)
        z = z.to(memory_format=torch.channels_last)
        weight = torch.empty(8, 1, 3, 3, device="cuda")
        out, strided = depthwise(z, weight, tap="strided")
        product, total, _ = pointwise(
            out, torch.empty(4, 8, 1, 1, device="cuda", dtype=z.dtype), center=weight.new_empty(4)
        )
        pooled = pool_and_add(z, weight.new_empty(8), weight.new_empty(8))
    for tensor, size in ((out, (2, 8, 5, 6)), (strided, (2, 8, 3, 3)), (product, (2, 4, 5, 6))):
        assert tensor.shape == size
        assert tensor.dtype == torch.bfloat16
        assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert total.dtype == torch.float32
    assert pooled.shape == (2, 8, 3, 3)


def test_operators_ignore_autocast():
    # Autocast must not round scale, shift and sums to bfloat16 inside an operator.
    x, weight = images(2, 4, 3, 5), torch.randn(6, 4, 1, 1)
    center = torch.randn(6)
    expected = pointwise(x, weight, center=center)
    with torch.autocast("cpu", torch.bfloat16):
        actual = pointwise(x, weight, center=center)
    for left, right in zip(actual, expected, strict=True):
        assert torch.equal(left, right)
