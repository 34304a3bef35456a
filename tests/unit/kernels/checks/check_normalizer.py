"""BatchNorm's vectors and sums of partial sums, as kernels, against plain PyTorch in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.library import opcheck
from torch.utils.checkpoint import checkpoint

from xception.kernels import batch_norm, normalizer, sums_launch
from xception.kernels.sums_launch import MAXIMUM_ROWS, added_up

# 129 channels: one more than a program's block
SIZES = [(1, 2), (7, 12), (129, 300)]


def layer(channels, affine, momentum, dtype=torch.float32):
    norm = nn.BatchNorm2d(channels, affine=affine, momentum=momentum, eps=1e-3)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.1, 2)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm.to(dtype)


def results(norm, total, squares, center, count, grads):
    """Scale and shift, all gradients, and the buffers afterwards."""
    leaves = [value.clone().requires_grad_() for value in (total, squares)]
    scale, shift = batch_norm.scale_and_shift(norm, *leaves, center, count)
    found = {"scale": scale.detach(), "shift": shift.detach()}
    if scale.requires_grad:
        torch.autograd.backward([scale, shift], list(grads))
    found |= {f"gradient {i}": leaf.grad for i, leaf in enumerate(leaves) if leaf.numel()}
    found |= {f"gradient of {name}": p.grad for name, p in norm.named_parameters()}
    return found | {name: value.clone() for name, value in norm.named_buffers()}


@pytest.fixture
def launches(monkeypatch):
    """Names of the kernels that were started for a BatchNorm."""
    started, start = [], normalizer.start

    def counted(kernel, *arguments, **options):
        started.append(kernel.__name__)
        start(kernel, *arguments, **options)

    monkeypatch.setattr(normalizer, "start", counted)
    return started


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("channels", "count"), SIZES)
def check_vectors_equal_plain_pytorch(affine, training, channels, count, launches, device):
    torch.manual_seed(0)
    norm = layer(channels, affine, 0.1).train(training)
    exact = copy.deepcopy(norm).double()
    values = torch.randn(count, channels) * 2 + 3
    center = norm.running_mean.clone() if training else None
    inputs = [torch.empty(0), torch.empty(0)]
    if training:
        inputs = [(values - center).sum(0), (values - center).square().sum(0)]
    grads = [torch.randn(channels) for _ in range(2)]
    moved = [value.to(device) for value in (*inputs, *grads)]
    on_device = None if center is None else center.to(device)
    actual = results(norm.to(device), *moved[:2], on_device, count, moved[2:])
    assert launches[0] == "normalizer_forward"
    assert ("move_running" in launches) == training
    doubles = [value.double() for value in (*inputs, *grads)]
    with_double = None if center is None else center.double()
    expected = results(exact, *doubles[:2], with_double, count, doubles[2:])
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        # 2e-5 of the largest: float32, and a variance that is a difference of two sums
        limit = 2e-5 * max(value.abs().max().item(), 1.0)
        torch.testing.assert_close(
            actual[name].cpu().double(),
            value.double(),
            rtol=0,
            atol=limit,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("statistics", [True, False])
def check_normalizer_passes_opcheck(statistics, device):
    vectors = [torch.rand(6, device=device).requires_grad_() for _ in range(4)]
    fixed = [torch.rand(6, device=device) for _ in range(3)]
    sums = [*vectors[:2], fixed[0]] if statistics else [torch.empty(0, device=device)] * 3
    given = (*sums, fixed[1], fixed[2], *vectors[2:], 5, 1e-3, statistics)
    opcheck(normalizer.normalizer, given)


def check_a_checkpoint_recomputes_the_vectors_and_moves_nothing_twice(launches, device):
    # Its second pass hands out what was saved once only.
    norm = layer(6, True, 0.1).train().to(device)
    exact, center = copy.deepcopy(norm), norm.running_mean.clone()
    sums = [torch.rand(6, device=device).requires_grad_() for _ in range(2)]
    grads = [torch.rand(6, device=device) for _ in range(2)]

    def vectors(total, squares):
        return batch_norm.scale_and_shift(norm, total, squares, center, 5)

    ours = torch.autograd.grad(checkpoint(vectors, *sums, use_reentrant=False), sums, grads)
    assert launches.count("normalizer_forward") == 2
    outputs = batch_norm.scale_and_shift(exact, *sums, center, 5)
    for left, right in zip(ours, torch.autograd.grad(outputs, sums, grads), strict=True):
        assert torch.equal(left, right)
    for left, right in zip(norm.buffers(), exact.buffers(), strict=True):
        assert torch.equal(left, right)
    assert norm.num_batches_tracked.item() == 1


def check_a_variance_held_at_zero_has_no_gradient(device):
    # of two equal values rounding may leave a negative variance
    norm = layer(1, True, 0.1).train().to(device)
    total, squares = (torch.tensor([v], device=device).requires_grad_() for v in (2.0, 1.9))
    scale, shift = batch_norm.scale_and_shift(
        norm, total, squares, torch.zeros(1, device=device), 2
    )
    (scale + 0 * shift).sum().backward()
    assert scale.item() == pytest.approx(norm.weight.item() * 1e-3**-0.5, rel=1e-5)
    assert squares.grad.item() == 0
    assert total.grad.item() == 0


def check_nan_stays_where_torch_keeps_it(device):
    norm = layer(2, True, 0.1).train().to(device)
    squares = torch.tensor([float("nan"), 9.0], device=device)
    scale, _ = batch_norm.scale_and_shift(
        norm, torch.zeros(2, device=device), squares, torch.zeros(2, device=device), 4
    )
    assert scale.isnan().tolist() == [True, False]
    assert norm.running_var.isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("rows", "channels", "width"), [(1, 1, 1), (5, 70, 9), (2 * MAXIMUM_ROWS + 9, 3, 1)]
)
@pytest.mark.parametrize("extra", [0, 1, 2])
def check_partial_sums_are_added_up_and_parted(rows, channels, width, extra, device):
    torch.manual_seed(0)
    partial = torch.randn(rows, width + extra, channels)
    matrix = torch.empty(channels, width) if width > 1 else None
    matrix = matrix if matrix is None else matrix.to(device)
    first, *vectors = added_up(partial.to(device), matrix)
    expected = partial.double().sum(0)
    # 1e-4: float32 sums of up to 600 numbers of about one
    limits = {"rtol": 0, "atol": 1e-4}
    wanted = expected[:width].t() if width > 1 else expected[0]
    torch.testing.assert_close(first.cpu().double(), wanted, **limits)
    for i, vector in enumerate(vectors):
        if i < extra:
            torch.testing.assert_close(vector.cpu().double(), expected[width + i], **limits)
        else:
            assert vector.numel() == 0


def check_a_program_adds_up_several_blocks_of_rows(device, monkeypatch):
    # As of millions of pixels: here two programs with 35 rows each, in blocks of 32.
    monkeypatch.setattr(sums_launch, "MAXIMUM_ROWS", 2)
    partial = torch.randn(70, 1, 3)
    first, *_ = added_up(partial.to(device))
    # 1e-4: float32 sums of 70 numbers of about one
    torch.testing.assert_close(first.cpu(), partial.sum((0, 1)), rtol=0, atol=1e-4)
