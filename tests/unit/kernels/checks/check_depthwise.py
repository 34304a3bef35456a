"""The depthwise kernels against autograd in float64."""

import pytest
import torch
import torch.nn.functional as F

from xception.kernels import tuning
from xception.kernels.depthwise import depthwise

# Blocks smaller than the sizes, so that block borders and empty lanes are in the game.
SMALL = {"COLUMNS": 3, "BLOCK_S": 4, "BLOCK_C": 16, "ROWS": 3, "REPEAT": 2, "num_warps": 1}
PINS = {"depthwise": SMALL, "depthwise_backward": SMALL}
# Widths of one and two strips that overlap, and of no whole strip; slides of three rows and fewer.
SIZES = [(1, 1, 1, 1), (1, 17, 4, 5), (3, 20, 2, 1), (1, 8, 1, 6), (5, 3, 7, 4)]


def make_inputs(size, dtype, affine, residual):
    torch.manual_seed(0)
    channels = size[1]
    inputs = {
        "z": torch.randn(size).to(dtype),
        "weight": torch.randn(channels, 1, 3, 3) * 0.3,
        "scale": torch.rand(channels) - 0.3 if affine else None,
        "shift": torch.randn(channels) * 0.5 if affine else None,
        "residual": torch.randn(size).to(dtype) if residual else None,
    }
    if not (affine or residual):
        inputs["z"][0, 0, 0, 0] = 0.0  # has no gradient behind a ReLU
    return inputs


def oracle(inputs, relu, tap):
    before = inputs["z"]
    if inputs["scale"] is not None:
        before = before * inputs["scale"].view(1, -1, 1, 1) + inputs["shift"].view(1, -1, 1, 1)
    if inputs["residual"] is not None:
        before = before + inputs["residual"]
    activation = F.relu(before) if relu else before
    out = F.conv2d(activation, inputs["weight"], padding=1, groups=before.shape[1])
    tapped = {
        "none": before.new_zeros(0),
        "sum": before,
        "strided": before[:, :, ::2, ::2],
        "strided-relu": activation[:, :, ::2, ::2],
    }[tap]
    return out, tapped


def outputs_and_gradients(function, inputs, grad_out, grad_tap):
    """Outputs, then the gradient of every input, as a dictionary."""
    leaves = {k: v.clone().requires_grad_() for k, v in inputs.items() if v is not None}
    out, tapped = function({k: leaves.get(k) for k in inputs})
    total = (out * grad_out).sum()
    if tapped.numel():
        total = total + (tapped * grad_tap).sum()
    total.backward()
    results = {"out": out, "tap": tapped}
    results.update({f"gradient of {k}": v.grad for k, v in leaves.items()})
    return {k: v.detach() for k, v in results.items()}


def compare(size, dtype, affine, residual, relu, tap, device, tolerance):
    inputs = make_inputs(size, dtype, affine, residual)
    grad_out = torch.randn(size).to(dtype)
    half = (size[0], size[1], (size[2] + 1) // 2, (size[3] + 1) // 2)
    grad_tap = torch.randn(size if tap == "sum" else half).to(dtype)
    doubles = {k: None if v is None else v.double() for k, v in inputs.items()}
    expected = outputs_and_gradients(
        lambda given: oracle(given, relu, tap), doubles, grad_out.double(), grad_tap.double()
    )
    on_device = {k: None if v is None else v.to(device) for k, v in inputs.items()}
    with tuning.pinned(PINS):
        actual = outputs_and_gradients(
            lambda given: depthwise(**given, relu=relu, tap=tap),
            on_device,
            grad_out.to(device),
            grad_tap.to(device),
        )
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        # error over the largest value of the tensor
        limit = tolerance * max(value.abs().max().item() if value.numel() else 0.0, 1.0)
        torch.testing.assert_close(
            actual[name].cpu().double(),
            value,
            rtol=0,
            atol=limit,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("affine", "residual", "relu", "tap"),
    [
        (False, False, True, "strided"),  # entry flow, modules 2 and 3
        (True, False, True, "strided-relu"),  # entry flow, module 1
        (True, True, True, "sum"),  # middle flow
    ],
)
def check_float32_equals_autograd(size, affine, residual, relu, tap, device):
    # 1e-5: float32 sums of up to a few hundred terms
    compare(size, torch.float32, affine, residual, relu, tap, device, tolerance=1e-5)


@pytest.mark.parametrize(
    ("affine", "residual", "relu", "tap"),
    [
        (True, False, True, "none"),  # inside every module
        (False, False, False, "none"),
        (True, True, True, "strided"),  # exit flow
        (True, False, False, "sum"),
    ],
)
def check_float32_equals_autograd_with_other_flags(affine, residual, relu, tap, device):
    compare((1, 17, 5, 6), torch.float32, affine, residual, relu, tap, device, tolerance=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)])
def check_half_precision_equals_autograd(dtype, tolerance, device):
    # tolerances: two units in the last place of the largest value, as results are rounded once
    compare((1, 17, 4, 6), dtype, True, True, True, "sum", device, tolerance)


@pytest.mark.parametrize("scale", [1.0, float("nan")])
def check_nan_stays_where_torch_keeps_it(scale, device):
    # A maximum that drops it would let a run that has diverged look sane.
    inputs = make_inputs((1, 4, 5, 6), torch.float32, affine=True, residual=False)
    inputs["z"][0, 0, 2, 2] = float("nan")
    inputs["scale"][1] = scale  # the padding stays zeros
    inputs["z"][0, 2, 4, 5] = float("inf")
    grad = torch.ones(1, 4, 5, 6)
    tapped = torch.ones(1, 4, 3, 3)
    with tuning.pinned(PINS):
        actual = outputs_and_gradients(
            lambda given: depthwise(**given, tap="strided-relu"),
            {k: None if v is None else v.to(device) for k, v in inputs.items()},
            grad.to(device),
            tapped.to(device),
        )
    expected = outputs_and_gradients(
        lambda given: oracle(given, True, "strided-relu"), inputs, grad, tapped
    )
    for name in ("out", "tap", "gradient of z"):
        torch.testing.assert_close(
            actual[name].cpu(), expected[name], rtol=0, atol=1e-5, equal_nan=True, msg=name
        )
    # Of the filters it may spread: the kernel multiplies by the padding's zeros, too.
    ours, torchs = (found["gradient of weight"].cpu().isnan() for found in (actual, expected))
    assert torchs.any()
    assert ours[torchs].all()


def check_same_bits_on_every_run(device, last_program_first):
    inputs = make_inputs((2, 8, 7, 5), torch.float16, affine=True, residual=True)
    inputs = {k: v.to(device) for k, v in inputs.items()}
    grad = torch.randn(2, 8, 7, 5, device=device)

    def run():
        with tuning.pinned(PINS):
            return outputs_and_gradients(
                lambda given: depthwise(**given, tap="sum"), inputs, grad, grad
            )

    first = run()
    with last_program_first():
        second = run()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def check_default_configurations_run(device):
    inputs = make_inputs((2, 72, 9, 5), torch.float32, affine=True, residual=False)
    inputs["weight"] = inputs["weight"].transpose(2, 3)  # its numbers do not lie in order
    with tuning.pinned():
        out, _ = depthwise(**{k: None if v is None else v.to(device) for k, v in inputs.items()})
    expected, _ = oracle(inputs, relu=True, tap="none")
    torch.testing.assert_close(out.cpu(), expected, rtol=0, atol=1e-5)
