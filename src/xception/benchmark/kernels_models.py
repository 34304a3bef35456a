"""The networks of the kernel benchmark: ours, plain and fused, and timm's, eager and compiled."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xception.kernels.flow import fused_features
from xception.models.registry import create_model

NAMES = ("ours, plain", "ours, fused", "timm legacy_xception", "timm inception_v3")
ANCHOR = "ours, plain, eager"  # is timed in every run


class Fused(nn.Module):
    """A plain Xception, run by the fused units: the same parameters and function."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Maps images to logits."""
        return self.model.head(fused_features(self.model, images))


def build(name: str, width: float) -> nn.Module:
    """One of the networks, with 1,000 classes; width is a factor on our channels (smoke test)."""
    torch.manual_seed(0)
    if name.startswith("ours"):
        # timm's numerics, so that all do the same work
        model = create_model("xception", width=width, numerics="timm")
        return Fused(model) if name == "ours, fused" else model
    import timm

    return timm.create_model(name.removeprefix("timm "), num_classes=1000)


def training_step(
    model: nn.Module, images: Tensor, labels: Tensor, compile_mode: str
) -> Callable[[], object]:
    """Forward, loss, backward and SGD with momentum, in bfloat16 autocast.

    Args:
        model: On the device; put into training mode.
        images: (N, 3, H, W).
        labels: (N,) int64.
        compile_mode: "" for eager, or a mode of torch.compile.
    """
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, foreach=True)
    forward = _compiled(model, compile_mode)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, torch.bfloat16):
            loss = F.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()

    return step


def inference_step(
    model: nn.Module, images: Tensor, compile_mode: str, graph: bool
) -> Callable[[], object]:
    """The logits in evaluation mode, weights and images in bfloat16.

    Args:
        model: On the device; put into evaluation mode and bfloat16.
        images: (N, 3, H, W).
        compile_mode: "" for eager, or a mode of torch.compile.
        graph: Whether to replay a CUDA graph, which takes Python's time out of small batches.
    """
    model.eval().bfloat16()
    images = images.bfloat16()
    forward = _compiled(model, compile_mode)

    def step() -> object:
        with torch.no_grad():
            return forward(images)

    if not graph:
        return step
    for _ in range(3):  # compiles, tunes and allocates outside the capture
        step()
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        logits = step()

    def replay(kept: object = (model, images, logits)) -> None:
        # The graph reads their memory and keeps none of it.
        captured.replay()

    return replay


def logits_error(
    model: nn.Module, images: Tensor, *, gradients: bool = False
) -> tuple[float, float]:
    """Errors of the fused and of the plain network in bfloat16, against plain float32.

    In training mode, so that the statistics of the batch are checked too; relative to the largest
    logit. The same parameters everywhere.

    Args:
        model: Our plain network, on the device.
        images: (N, 3, H, W), channels_last.
        gradients: Whether the fused network runs as in training, which takes other kernels.
    """
    device = images.device.type
    model.train()
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.no_grad():
            exact = model(images)
            with torch.autocast(device, torch.bfloat16):
                plain = model(images).float() - exact
        with torch.set_grad_enabled(gradients), torch.autocast(device, torch.bfloat16):
            fused = Fused(model)(images).detach().float() - exact
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
    largest = exact.abs().max()
    return (fused.abs().max() / largest).item(), (plain.abs().max() / largest).item()


def _compiled(model: nn.Module, mode: str) -> Callable[[Tensor], Tensor]:
    return torch.compile(model, mode=mode) if mode else model
