"""The networks of the kernel benchmark: ours, plain and fused, and timm's, eager and compiled."""

from collections.abc import Callable
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xception.benchmark.kernels_timing import Contender
from xception.kernels.flow import fused_features
from xception.models.registry import create_model

NAMES = ("ours, fused", "ours, plain", "timm legacy_xception", "timm inception_v3")


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
        step()
    return captured.replay


def contenders(
    make: Callable[[str, str], Callable[[], object]], compile_modes: list[str]
) -> list[Contender]:
    """A contender for every network and mode; one that cannot be built says why.

    Args:
        make: Builds the step of a network in a compile mode ("" is eager).
        compile_modes: Modes of torch.compile beside eager.
    """
    result = []
    for name in NAMES:
        for mode in ["", *compile_modes]:
            label = f"{name}, {(mode and 'compiled ' + mode) or 'eager'}"
            print(f"  {label}", flush=True)
            try:
                result.append(Contender(label, make(name, mode)))
            except Exception as error:
                failure = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
                result.append(Contender(label, lambda: None, failure))
    return result


def logits_error(width: float, size: int, device: str) -> tuple[float, float]:
    """Errors of the fused and of the plain network in bfloat16, against plain float32.

    In training mode, so that the statistics of the batch are checked too; relative to the largest
    logit. The same parameters everywhere.
    """
    plain = build("ours, plain", width).to(device).train()
    fused = Fused(plain)
    images = torch.randn(8, 3, size, size, device=device).to(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = plain(images)
        with torch.autocast(device, torch.bfloat16):
            errors = [(network(images).float() - exact).abs().max() for network in (fused, plain)]
    return (errors[0] / exact.abs().max()).item(), (errors[1] / exact.abs().max()).item()


def _compiled(model: nn.Module, mode: str) -> Callable[[Tensor], Tensor]:
    return torch.compile(model, mode=mode) if mode else model
