"""A whole small Xception through the kernels against the plain modules in float64."""

import copy

import pytest
import torch
from torch import nn

from xception.kernels import compilation, tuning
from xception.kernels.flow import fused_features
from xception.models.xception import Xception

# Blocks as large as the maps, as the interpreter's time goes into their number. Compiled, such
# blocks take minutes: a GPU gets the first candidates.
SLIDE = {"COLUMNS": 4, "BLOCK_S": 16, "BLOCK_C": 32, "ROWS": 32, "REPEAT": 1, "num_warps": 1}
PIXELS = {"BLOCK_P": 256, "BLOCK_C": 32, "num_warps": 1}
MATMUL = {"BLOCK_M": 256, "BLOCK_N": 32, "BLOCK_K": 32, "num_warps": 1, "num_stages": 1}
PINS = {
    "depthwise": SLIDE,
    "depthwise_backward": SLIDE,
    "pointwise": MATMUL,
    "separable": MATMUL,
    "column_statistics": {"ROWS": 512, "BLOCK_M": 256, "BLOCK_N": 32, "num_warps": 1},
    "combine_gradients": {"BLOCK_M": 256, "BLOCK_N": 32, "num_warps": 1},
    "pool": PIXELS,
    "pool_backward": PIXELS,
    "pool_sums": {"ROWS": 256, "BLOCK_P": 256, "BLOCK_C": 32, "num_warps": 1},
}


def small_model(**arguments):
    """Two middle modules, so that a pending residual sum meets both its successors."""
    torch.manual_seed(0)
    model = Xception(
        num_classes=3,
        widths=(8, 8, 12, 16, 20, 24, 28, 32),
        stem_strides=(1, 1),
        middle_flow_repeats=2,
        **arguments,
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # signs and centres that a fresh layer does not have
            nn.init.uniform_(module.weight, -0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
    return model


def pins_for(device):
    return PINS if device == "cpu" else {}


def train_step(features, model, images, grad):
    out = features(model, images)
    out.backward(grad)
    return {
        "features": out.detach(),
        **{f"gradient of {k}": p.grad for k, p in model.named_parameters() if p.grad is not None},
        **{f"buffer {k}": b.clone() for k, b in model.named_buffers()},
    }


def compare(arguments, device, checkpointing=False):
    plain = small_model(**arguments).double()
    fused = copy.deepcopy(plain).float().to(device)
    images = torch.randn(2, 3, 23, 22)
    grad = torch.randn(2, 32, 2, 2)
    expected = train_step(
        lambda model, x: model.forward_features(x), plain, images.double(), grad.double()
    )
    if checkpointing:
        fused.set_grad_checkpointing()
    images, grad = images.to(device), grad.to(device)
    with tuning.pinned(pins_for(device)):
        if device == "cuda":
            with compilation.side_by_side():
                train_step(fused_features, copy.deepcopy(fused), images, grad)
        actual = train_step(fused_features, fused, images, grad)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        # float32 against float64 over 14 layers with BatchNorm over as few as 8 values: 1e-3 of
        # the largest value
        limit = 1e-3 * max(value.abs().max().item(), 1e-3)
        torch.testing.assert_close(
            actual[name].cpu().to(value.dtype),
            value,
            rtol=0,
            atol=limit,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def check_train_step_equals_plain_modules(device):
    compare({"numerics": "keras"}, device)


@pytest.mark.slow
def check_train_step_with_the_other_numerics(device):
    compare({"numerics": "timm"}, device)


@pytest.mark.slow
def check_train_step_without_residuals(device):
    compare({"residual": False}, device)


@pytest.mark.slow
def check_checkpointing_moves_running_statistics_once(device):
    compare({}, device, checkpointing=True)


def check_evaluation_equals_plain_modules(device):
    model = small_model().eval()
    images = torch.randn(1, 3, 22, 23)
    with torch.no_grad(), tuning.pinned(pins_for(device)):
        expected = copy.deepcopy(model).double().forward_features(images.double())
        actual = fused_features(model.to(device), images.to(device))
    torch.testing.assert_close(actual.cpu().double(), expected, rtol=0, atol=1e-4)
