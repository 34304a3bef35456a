"""The activation kernels against autograd in float64."""

import pytest
import torch
import torch.nn.functional as F

from xception.kernels import tuning
from xception.kernels.activation import activation
from xception.kernels.depthwise_launch import block_of

PINS = {
    "activation": {"BLOCK_M": 8, "BLOCK_C": 16, "num_warps": 1},
    "activation_backward": {"ROWS": 12, "BLOCK_M": 8, "BLOCK_C": 16, "num_warps": 1},
}


def results(function, z, scale, shift, grad):
    leaves = [value.clone().requires_grad_() for value in (z, scale, shift)]
    out = function(*leaves)
    (out * grad).sum().backward()
    return [out.detach(), *[leaf.grad for leaf in leaves]]


def oracle(relu):
    def function(z, scale, shift):
        value = z * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        return F.relu(value) if relu else value

    return function


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (2, 17, 3, 5), (3, 32, 4, 1)])
# 1e-5: float32 sums of up to 30 terms; 1.6e-2: two units in bfloat16's last place
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1.6e-2)])
def check_activation_equals_autograd(relu, size, dtype, tolerance, device):
    torch.manual_seed(0)
    z, grad = torch.randn(size).to(dtype), torch.randn(size).to(dtype)
    scale, shift = torch.rand(size[1]) - 0.3, torch.randn(size[1])
    expected = results(oracle(relu), z.double(), scale.double(), shift.double(), grad.double())
    with tuning.pinned(PINS):
        given = [value.to(device) for value in (z, scale, shift, grad)]
        actual = results(lambda *leaves: activation(*leaves, relu), *given)
    for ours, exact in zip(actual, expected, strict=True):
        limit = tolerance * max(exact.abs().max().item(), 1.0)
        torch.testing.assert_close(ours.cpu().double(), exact, rtol=0, atol=limit)


def check_nan_stays_where_torch_keeps_it(device):
    # A maximum that drops it would let a run that has diverged look sane.
    z = torch.tensor([float("nan"), -1.0, 0.0, float("inf")]).view(1, 2, 2, 1)
    scale, shift, grad = torch.ones(2), torch.zeros(2), torch.arange(1.0, 5.0).view(1, 2, 2, 1)
    with tuning.pinned(PINS):
        given = [value.to(device) for value in (z, scale, shift, grad)]
        actual = results(lambda *leaves: activation(*leaves, True), *given)
    expected = results(oracle(True), z, scale, shift, grad)
    for ours, exact in zip(actual[:2], expected[:2], strict=True):
        torch.testing.assert_close(ours.cpu(), exact, rtol=0, atol=0, equal_nan=True)


def check_first_configurations_equal_autograd(device):
    z, scale, shift = torch.randn(2, 72, 5, 5), torch.rand(72), torch.randn(72)
    with tuning.pinned():
        out = activation(*(value.to(device) for value in (z, scale, shift)), True)
    torch.testing.assert_close(out.cpu(), oracle(True)(z, scale, shift), rtol=0, atol=1e-5)
    assert [block_of(channels) for channels in (1, 32, 33, 728)] == [16, 32, 64, 64]
