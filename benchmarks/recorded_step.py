"""A training step of the fused network, recorded on tensors without memory: nothing is computed."""

import collections
import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from xception.kernels import (
    activation,
    batch_norm,
    compilation,
    convolution,
    depthwise_launch,
    normalizer,
    pointwise_backward_launch,
    pointwise_launch,
    pooling_launch,
    separable_launch,
    tuning,
    unit,
)
from xception.kernels.flow import fused_features
from xception.models.registry import create_model

OPERATORS: dict[str, Callable[..., Any]] = {
    "activation": activation.launch_forward,
    "activation_backward": activation.launch_backward,
    "convolution": convolution._with_sums,
    "depthwise": depthwise_launch.launch_forward,
    "depthwise_backward": depthwise_launch.launch_backward,
    "pointwise": pointwise_launch.launch_forward,
    "pointwise_backward": pointwise_backward_launch.launch_backward,
    "pool": pooling_launch.launch_forward,
    "pool_backward": pooling_launch.launch_backward,
    "separable": separable_launch.launch_forward,
    "normalizer": normalizer.normalizer._init_fn,
    "normalizer_backward": normalizer._normalizer_backward._init_fn,
    "move_running": normalizer.move_running._init_fn,
}


@dataclass
class Launch:
    """A kernel as it was launched."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """The kernel's name."""
        return str(self.kernel.__name__)

    @property
    def given(self) -> dict[str, Any]:
        """Arguments and options by name."""
        names = [name for name in self.kernel.arg_names if name not in self.options]
        return dict(zip(names, self.arguments, strict=True)) | self.options

    @property
    def gigabytes(self) -> float:
        """Its tensors, each once."""
        tensors = {id(t): t for t in self.arguments if isinstance(t, Tensor)}
        return sum(t.numel() * t.element_size() for t in tensors.values()) / 1e9


@dataclass
class Step:
    """What a training step runs: our kernels' launches, and time and bytes of the library's."""

    launches: list[Launch] = field(default_factory=list)
    library: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: collections.defaultdict(list)
    )


class _Recorder(TorchDispatchMode):
    """Runs our operators' launches on tensors of any device, and notes all others."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        space, _, name = func.name().partition("::")
        name = name.partition(".")[0]
        if space == "xception":
            with self:
                if name == "convolution_backward":
                    grad, total, squares, z, x, weight, center, statistics, *rest = args
                    sums = (center, total, squares) if statistics else None
                    return convolution._gradients(grad, z, x, weight, sums, *rest)
                return OPERATORS[name](*args)
        outputs = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs or {}, outputs)) if isinstance(t, Tensor)]
        moved = sum(t.numel() * t.element_size() for t in tensors)
        quiet = ("empty", "detach", "promote_types", "scalar_tensor")
        if tensors and not func.is_view and not any(word in name for word in quiet):
            packet = func._overloadpacket
            flop = 0
            if packet in flop_registry:
                flop = flop_registry[packet](*args, **(kwargs or {}), out_val=outputs)
            self.step.library[name].append((moved / 1e9, flop / 1e12))
        return outputs


def training_step(batch: int, predict: Callable[[Step], float] | None = None) -> Step:
    """Records a step of Xception at 299x299 in bfloat16.

    Args:
        batch: Images.
        predict: Time of what is recorded; then each operator takes the configuration that is
            predicted to be the fastest. Without it the first.
    """
    recorder = _Recorder(Step())

    def start(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
        # Copies: autograd would copy a gradient that somebody else holds, too.
        kept = {id(a): torch.empty_like(a) if isinstance(a, Tensor) else a for a in arguments}
        given = tuple(kept[id(a)] for a in arguments)
        recorder.step.launches.append(Launch(kernel, grid, given, options))

    chosen: dict[str, tuning.Config] = {}

    def choose(
        kernel: str, key: Any, candidates: list[tuning.Config], launch: Callable[..., object]
    ) -> tuning.Config:
        name = f"{kernel}{key}"
        if predict is None or name in chosen:
            return chosen.get(name, candidates[0])
        times, step = [], recorder.step
        for config in candidates:
            recorder.step = Step()
            launch(config)
            times.append(predict(recorder.step))
        recorder.step = step
        chosen[name] = candidates[times.index(min(times))]
        return chosen[name]

    model = create_model("xception", numerics="timm").to("meta").train()
    images = torch.empty(batch, 3, 299, 299, device="meta", dtype=torch.bfloat16)
    with _patched(start), mock.patch.object(tuning, "choose", choose), recorder:
        features = fused_features(model, images.to(memory_format=torch.channels_last))
        model.head(features.float()).sum().backward()  # type: ignore[operator]
    return recorder.step


def _patched(start: Callable[..., None]) -> contextlib.ExitStack:
    """Launches are noted, not run; the operators take tensors without memory for a GPU's."""
    stack = contextlib.ExitStack()
    loaded = [
        module for name, module in sys.modules.items() if name.startswith("xception.kernels.")
    ]
    for module in [m for m in loaded if getattr(m, "start", None) is compilation.start]:
        stack.enter_context(mock.patch.object(module, "start", start))
    for other in (batch_norm, convolution):
        stack.enter_context(mock.patch.object(other, "runs_kernel", return_value=True))
    stack.enter_context(mock.patch.object(unit, "compute_dtype", return_value=torch.bfloat16))
    return stack
