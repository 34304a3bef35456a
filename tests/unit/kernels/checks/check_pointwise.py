"""The pointwise kernels and their sums against autograd in float64."""

import pytest
import torch
import torch.nn.functional as F

from xception.kernels import pointwise_backward_launch, tuning
from xception.kernels.pointwise import pointwise
from xception.kernels.pointwise_launch import LIBRARY, column_sums

# Triton's tiles, smaller than the sizes; and the library's product with a pass for the sums.
TILES = {"BLOCK_M": 16, "BLOCK_N": 16, "BLOCK_K": 16, "num_warps": 1, "num_stages": 1}
ROWS = {"ROWS": 24, "BLOCK_M": 16, "BLOCK_N": 16, "num_warps": 1}
COMBINE = {"BLOCK_M": 16, "BLOCK_N": 16, "num_warps": 1}
PINS = {"column_statistics": ROWS, "combine_gradients": COMBINE}
TRITON = PINS | {"pointwise": TILES, "pointwise_backward": TILES}
# Both gradients by one kernel.
WHOLE = TRITON | {"pointwise_backward": {"BLOCK_M": 16, "STAGES": 2, "num_warps": 1}}
WITH_LIBRARY = PINS | {"pointwise": LIBRARY, "pointwise_backward": LIBRARY}
WAYS = {"triton": TRITON, "whole": WHOLE, "library": WITH_LIBRARY}


def results(function, x, weight, grads):
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    outputs = function(x, weight)
    used = [(output * grad).sum() for output, grad in zip(outputs, grads, strict=True)]
    torch.stack([value.to(used[0].dtype) for value in used]).sum().backward()
    names = ("z", "sum", "squares")
    named = dict(zip(names, (output.detach() for output in outputs), strict=True))
    return named | {"gradient of x": x.grad, "gradient of weight": weight.grad}


def compare(size, outputs, dtype, pins, device, tolerance):
    torch.manual_seed(0)
    x = torch.randn(size).to(dtype)
    weight = (torch.randn(outputs, size[1], 1, 1) * size[1] ** -0.5).to(dtype)
    center = torch.randn(outputs)
    grads = [torch.randn(size[0], outputs, *size[2:]), torch.randn(outputs), torch.randn(outputs)]
    grads[0] = grads[0].to(dtype)

    def oracle(x, weight):
        z = F.conv2d(x, weight)
        centered = z - center.double().view(1, -1, 1, 1)
        return z, centered.sum((0, 2, 3)), centered.square().sum((0, 2, 3))

    doubles = [grad.double() for grad in grads]
    expected = results(oracle, x.double(), weight.double(), doubles)
    with tuning.pinned(pins):
        actual = results(
            lambda x, weight: pointwise(x, weight, center=center.to(device)),
            x.to(device),
            weight.to(device),
            [grad.to(device) for grad in grads],
        )
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


@pytest.mark.parametrize("pins", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize(
    ("size", "outputs"), [((1, 1, 1, 1), 1), ((2, 20, 5, 3), 33), ((1, 33, 1, 17), 16)]
)
def check_float32_equals_autograd(size, outputs, pins, device):
    # 1e-5: full float32, where TF32 would err by 1e-3
    compare(size, outputs, torch.float32, pins, device, tolerance=1e-5)


@pytest.mark.parametrize("pins", WAYS.values(), ids=WAYS.keys())
def check_float16_equals_autograd(pins, device):
    # 4e-3: z is rounded to float16 (5e-4) before it is summed and before its gradient is formed
    compare((2, 20, 5, 3), 33, torch.float16, pins, device, tolerance=4e-3)


def check_bfloat16_equals_autograd(device):
    if device == "cpu":
        pytest.skip("Triton's interpreter cannot multiply bfloat16 matrices")
    for pins in (TRITON, WHOLE):
        compare((2, 20, 5, 3), 33, torch.bfloat16, pins, device, tolerance=3.2e-2)


def check_programs_of_several_tiles(device, monkeypatch):
    # 75 rows are five tiles for two programs: three and two
    monkeypatch.setattr(pointwise_backward_launch, "PROGRAMS", 2)
    compare((5, 20, 5, 3), 33, torch.float32, WHOLE, device, tolerance=1e-5)


def check_transposed_weights_and_expanded_gradients(device):
    # Kernels read rows of numbers that lie side by side: what does not is copied first.
    torch.manual_seed(0)
    x, weight = torch.randn(1, 20, 3, 2), torch.randn(20, 33).t()[:, :, None, None]
    center = torch.randn(33)

    def loss(z, total, squares):  # every gradient is a single number, expanded
        return z.sum() + total.sum() + 0.5 * squares.sum()

    x64, weight64 = (tensor.double().requires_grad_() for tensor in (x, weight))
    z = F.conv2d(x64, weight64)
    centered = z - center.double().view(1, -1, 1, 1)
    loss(z, centered, centered.square()).backward()
    for pins in WAYS.values():
        ours, matrix = (tensor.detach().to(device, copy=True) for tensor in (x, weight))
        ours.requires_grad_(), matrix.requires_grad_()
        assert not matrix.is_contiguous()
        with tuning.pinned(pins):
            loss(*pointwise(ours, matrix, center=center.to(device))).backward()
        for actual, expected in ((ours.grad, x64.grad), (matrix.grad, weight64.grad)):
            # float32 sums of a few dozen terms of up to about 30
            torch.testing.assert_close(actual.cpu().double(), expected, rtol=0, atol=2e-3)


def check_sums_do_not_cancel(device):
    # Mean 1000, deviation 0.1: the plain E[z²] - E[z]² in float32 has an error of about 0.06.
    rows = 1000 + 0.1 * torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    with tuning.pinned(PINS):
        total, squares = column_sums(rows.to(device), torch.full((8,), 999.9, device=device))
    variance = squares / 256 - (total / 256).square()
    expected = rows.double().var(0, unbiased=False)
    torch.testing.assert_close(variance.double(), expected, rtol=1e-3, atol=0)


def check_without_center_no_sums(device):
    x, weight = torch.randn(1, 20, 3, 3), torch.randn(16, 20, 1, 1)
    with tuning.pinned(TRITON):
        z, total, squares = pointwise(x.to(device), weight.to(device))
    assert total.numel() == squares.numel() == 0
    torch.testing.assert_close(z.cpu(), F.conv2d(x, weight), rtol=0, atol=1e-5)


def check_default_configuration_in_float16(device):
    x, weight = torch.randn(1, 72, 6, 5).half(), torch.randn(40, 72, 1, 1).half()
    with tuning.pinned():
        z, total, _ = pointwise(x.to(device), weight.to(device), center=torch.zeros(40).to(device))
    torch.testing.assert_close(
        z.cpu().float(), F.conv2d(x.float(), weight.float()), rtol=2e-3, atol=2e-2
    )
    torch.testing.assert_close(total.cpu(), z.cpu().float().sum((0, 2, 3)), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("pins", WAYS.values(), ids=WAYS.keys())
def check_same_bits_on_every_run(pins, device, last_program_first):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 20, 5, 4).half(), torch.randn(33, 20, 1, 1).half()
    grads = [torch.randn(2, 33, 5, 4).half(), torch.randn(33), torch.randn(33)]
    center = torch.randn(33).to(device)

    def run():
        with tuning.pinned(pins):
            return results(
                lambda x, weight: pointwise(x, weight, center=center),
                x.to(device),
                weight.to(device),
                [grad.to(device) for grad in grads],
            )

    first = run()
    with last_program_first():
        second = run()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
