"""The pooling kernels against autograd in float64."""

import pytest
import torch
import torch.nn.functional as F

from xception.kernels import tuning
from xception.kernels.pooling import pool_and_add

PIXELS = {"BLOCK_P": 8, "BLOCK_C": 16, "num_warps": 1}
PINS = {
    "pool": PIXELS,
    "pool_backward": PIXELS,
    "pool_sums": {"ROWS": 24, "BLOCK_P": 16, "BLOCK_C": 16, "num_warps": 1},
}


def same_padding(size):
    return (size[2] % 2, size[3] % 2)


def oracle(z, scale, shift, shortcut, shortcut_scale, shortcut_shift, padding):
    top, left = padding
    branch = z * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
    height, width = (z.shape[2] + 1) // 2, (z.shape[3] + 1) // 2
    below = 2 * height + 1 - top - z.shape[2]
    right = 2 * width + 1 - left - z.shape[3]
    pooled = F.max_pool2d(F.pad(branch, (left, right, top, below), value=float("-inf")), 3, 2)
    if shortcut is None:
        return pooled
    return pooled + shortcut * shortcut_scale.view(1, -1, 1, 1) + shortcut_shift.view(1, -1, 1, 1)


def make_inputs(size, dtype, with_shortcut):
    torch.manual_seed(0)
    batch, channels, height, width = size
    half = (batch, channels, (height + 1) // 2, (width + 1) // 2)
    inputs = [torch.randn(size).to(dtype), torch.randn(channels), torch.randn(channels)]
    if with_shortcut:
        inputs += [torch.randn(half).to(dtype), torch.randn(channels), torch.randn(channels)]
    return inputs, torch.randn(half).to(dtype)


def results(function, inputs, grad):
    leaves = [value.clone().requires_grad_() for value in inputs]
    out = function(*leaves, *[None] * (6 - len(leaves)))
    (out * grad).sum().backward()
    names = ("z", "scale", "shift", "shortcut", "shortcut scale", "shortcut shift")
    gradients = {f"gradient of {n}": v.grad for n, v in zip(names, leaves, strict=False)}
    return {"out": out.detach()} | gradients


def run_kernel(padding):
    def function(z, scale, shift, shortcut, shortcut_scale, shortcut_shift):
        return pool_and_add(
            z,
            scale,
            shift,
            shortcut=shortcut,
            shortcut_scale=shortcut_scale,
            shortcut_shift=shortcut_shift,
            padding=padding,
        )

    return function


def compare(size, dtype, padding, with_shortcut, device, tolerance):
    inputs, grad = make_inputs(size, dtype, with_shortcut)
    expected = results(
        lambda *given: oracle(*given, padding), [v.double() for v in inputs], grad.double()
    )
    with tuning.pinned(PINS):
        actual = results(run_kernel(padding), [v.to(device) for v in inputs], grad.to(device))
    for name, value in expected.items():
        # error over the largest value of the tensor
        limit = tolerance * max(value.abs().max().item(), 1.0)
        torch.testing.assert_close(
            actual[name].cpu().double(),
            value,
            rtol=0,
            atol=limit,
            msg=lambda m, n=name: f"{n}: {m}",
        )


# 36 output pixels: more than the 24 that a program of the sums has
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (3, 20, 7, 6), (3, 17, 2, 1)])
@pytest.mark.parametrize("padding", ["same", (1, 1)])
def check_float32_equals_autograd(size, padding, device):
    padding = same_padding(size) if padding == "same" else padding
    compare(size, torch.float32, padding, True, device, tolerance=1e-5)


def check_without_shortcut(device):
    compare((2, 20, 4, 5), torch.float32, (0, 1), False, device, tolerance=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)])
def check_half_precision_equals_autograd(dtype, tolerance, device):
    # two units in the last place of the largest value
    compare((1, 20, 5, 6), dtype, (1, 1), True, device, tolerance)


def check_a_tie_goes_to_the_first_and_nan_survives(device):
    z = torch.ones(1, 1, 3, 3, device=device, requires_grad=True)
    one, zero = torch.ones(1, device=device), torch.zeros(1, device=device)
    with tuning.pinned(PINS):
        pool_and_add(z, one, zero, padding=(1, 1)).sum().backward()
    # windows start at -1 and 1: their first pixels inside are (0, 0), (0, 1), (1, 0), (1, 1)
    assert z.grad.cpu()[0, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    with torch.no_grad(), tuning.pinned(PINS):
        z[0, 0, 0, 0] = float("nan")
        out = pool_and_add(z, one, zero, padding=(1, 1)).cpu()[0, 0]
    assert out.isnan().tolist() == [[True, False], [False, False]]


def check_same_bits_on_every_run(device, last_program_first):
    inputs, grad = make_inputs((2, 20, 5, 4), torch.float16, with_shortcut=True)
    inputs, grad = [v.to(device) for v in inputs], grad.to(device)
    with tuning.pinned(PINS):
        first = results(run_kernel((1, 1)), inputs, grad)
        with last_program_first():
            second = results(run_kernel((1, 1)), inputs, grad)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
