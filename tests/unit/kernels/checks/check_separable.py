"""The kernel of a whole separable convolution against autograd in float64."""

import pytest
import torch
import torch.nn.functional as F

from xception.kernels import tuning
from xception.kernels.separable import separable
from xception.kernels.separable_launch import SPLIT

SLIDE = {"COLUMNS": 4, "BLOCK_S": 8, "BLOCK_C": 32, "ROWS": 8, "REPEAT": 2, "num_warps": 1}
TILES = {"BLOCK_M": 16, "BLOCK_N": 16, "BLOCK_K": 16, "num_warps": 1, "num_stages": 1}
PINS = {
    "depthwise": SLIDE,
    "depthwise_backward": SLIDE,
    "pointwise": TILES | {"BLOCK_N": 32},
    "combine_gradients": {"BLOCK_M": 32, "BLOCK_N": 32, "num_warps": 1},
}
FUSED = PINS | {"separable": TILES | {"BLOCK_N": 32}}


def results(function, inputs, grads):
    leaves = {k: v.clone().requires_grad_() for k, v in inputs.items() if v is not None}
    outputs = function({k: leaves.get(k) for k in inputs})
    used = [(o * g).sum() for o, g in zip(outputs, grads, strict=True) if o.numel()]
    torch.stack([value.to(used[0].dtype) for value in used]).sum().backward()
    named = dict(zip(("z", "sum", "squares", "tap"), outputs, strict=True))
    named |= {f"gradient of {k}": v.grad for k, v in leaves.items()}
    return {k: v.detach() for k, v in named.items()}


def compare(size, outputs, dtype, affine, relu, tap, pins, device, tolerance):
    torch.manual_seed(0)
    batch, channels, height, width = size
    inputs = {
        "z": torch.randn(size).to(dtype),
        "depthwise_weight": torch.randn(channels, 1, 3, 3) * 0.3,
        "pointwise_weight": (torch.randn(outputs, channels, 1, 1) * channels**-0.5).to(dtype),
        "scale": torch.rand(channels) - 0.3 if affine else None,
        "shift": torch.randn(channels) if affine else None,
    }
    center = torch.randn(outputs)
    half = (batch, channels, (height + 1) // 2, (width + 1) // 2)
    grads = [torch.randn(batch, outputs, height, width), torch.randn(outputs)]
    grads += [torch.randn(outputs), torch.randn(half)]

    def oracle(given):
        before = given["z"]
        if affine:
            before = before * given["scale"].view(1, -1, 1, 1) + given["shift"].view(1, -1, 1, 1)
        activation = F.relu(before) if relu else before
        spatial = F.conv2d(activation, given["depthwise_weight"], padding=1, groups=channels)
        z = F.conv2d(spatial, given["pointwise_weight"])
        centered = z - center.double().view(1, -1, 1, 1)
        tapped = {
            "none": before.new_zeros(0),
            "strided": before[:, :, ::2, ::2],
            "strided-relu": activation[:, :, ::2, ::2],
        }[tap]
        return z, centered.sum((0, 2, 3)), centered.square().sum((0, 2, 3)), tapped

    doubles = {k: None if v is None else v.double() for k, v in inputs.items()}
    expected = results(oracle, doubles, [g.double() for g in grads])
    on_device = {k: None if v is None else v.to(device) for k, v in inputs.items()}
    with tuning.pinned(pins):
        actual = results(
            lambda given: separable(**given, center=center.to(device), relu=relu, tap=tap),
            on_device,
            [g.to(device) for g in grads],
        )
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


@pytest.mark.parametrize(
    ("size", "affine", "relu", "tap"),
    [
        ((1, 1, 1, 1), True, True, "none"),
        ((2, 20, 3, 5), True, True, "strided-relu"),
        ((1, 17, 4, 3), False, True, "strided"),
        ((1, 8, 1, 6), False, False, "none"),
    ],
)
def check_float32_equals_autograd(size, affine, relu, tap, device):
    # 1e-5: full float32, where TF32 would err by 1e-3
    compare(size, 21, torch.float32, affine, relu, tap, FUSED, device, tolerance=1e-5)


def check_float16_equals_autograd(device):
    # 4e-3: the depthwise result is rounded before the product, as a tensor would be
    compare((2, 20, 3, 5), 21, torch.float16, True, True, "strided", FUSED, device, tolerance=4e-3)


def check_nan_stays_where_torch_keeps_it(device):
    z, filters, matrix = torch.randn(1, 3, 5, 4), torch.randn(3, 1, 3, 3), torch.randn(4, 3, 1, 1)
    z[0, 0, 2, 2] = float("nan")
    with torch.no_grad(), tuning.pinned(FUSED):
        out, *_, tapped = separable(
            *(value.to(device) for value in (z, filters, matrix)), tap="strided-relu"
        )
    exact = F.conv2d(F.conv2d(F.relu(z), filters, padding=1, groups=3), matrix)
    assert torch.equal(out.isnan().cpu(), exact.isnan())
    assert torch.equal(tapped.isnan().cpu(), z[:, :, ::2, ::2].isnan())


def check_two_kernels_equal_one(device):
    pins = PINS | {"separable": SPLIT}
    compare((1, 20, 3, 5), 21, torch.float32, True, True, "strided", pins, device, tolerance=1e-5)


def check_inference_does_not_write_the_depthwise_result(device):
    z, weight = torch.randn(1, 20, 3, 5), torch.randn(20, 1, 3, 3)
    matrix = torch.randn(21, 20, 1, 1)
    with torch.no_grad(), tuning.pinned(FUSED):
        out, total, *_ = separable(z.to(device), weight.to(device), matrix.to(device), relu=False)
        saved = torch.ops.xception.separable(
            *(z.to(device), None, None, weight.to(device), matrix.to(device)),
            *(torch.empty(0, device=device), False, "none", False, False),
        )[4]
    expected = F.conv2d(F.conv2d(z, weight, padding=1, groups=20), matrix)
    torch.testing.assert_close(out.cpu(), expected, rtol=0, atol=1e-4)
    assert total.numel() == saved.numel() == 0
