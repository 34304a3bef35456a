"""Predicts the fused training step from the kernels' machine code. An analysis, NOT a measurement.

Runs a training step of Xception on tensors without memory, notes every launch and every operation
of PyTorch, compiles each kernel for an H100 and counts what its warps do. Of each launch the time
is at least the longest of: its bytes once through memory, its instructions through the schedulers,
its bytes through the first-level caches, its products through the tensor cores. Needs no GPU.

    python benchmarks/kernels_static.py
    python benchmarks/kernels_static.py --output benchmarks/results/NAME.md
"""

import argparse
import collections
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from machine_code import Code, compiled, work
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from xception.kernels import (
    activation,
    batch_norm,
    convolution,
    depthwise_launch,
    normalizer,
    pointwise_launch,
    pooling_launch,
    separable_launch,
    sums_launch,
    tuning,
    unit,
)
from xception.kernels.flow import fused_features
from xception.models.registry import create_model

# An H100 SXM; an H200 has the same multiprocessors and 4.8e12 bytes a second.
MULTIPROCESSORS, SCHEDULERS, HERTZ = 132, 4, 1.7e9
MEMORY, MEMORY_H200 = 3.35e12, 4.8e12
CACHE = MULTIPROCESSORS * 128 * HERTZ
TENSOR = 989e12
LAUNCHES = (
    activation,
    depthwise_launch,
    normalizer,
    pointwise_launch,
    pooling_launch,
    separable_launch,
    sums_launch,
)
OPERATORS: dict[str, Callable[..., Any]] = {
    "activation": activation.launch_forward,
    "activation_backward": activation.launch_backward,
    "convolution": convolution._with_sums,
    "depthwise": depthwise_launch.launch_forward,
    "depthwise_backward": depthwise_launch.launch_backward,
    "pointwise": pointwise_launch.launch_forward,
    "pointwise_backward": pointwise_launch.launch_backward,
    "pool": pooling_launch.launch_forward,
    "pool_backward": pooling_launch.launch_backward,
    "separable": separable_launch.launch_forward,
    "normalizer": normalizer.normalizer._init_fn,
    "normalizer_backward": normalizer._normalizer_backward._init_fn,
    "move_running": normalizer.move_running._init_fn,
}
Given = dict[str, Any]
# How often a kernel's loops run, the outer ones first, from what it is launched with.
TRIPS: dict[str, Callable[[Given], list[int]]] = {
    "depthwise_forward": lambda a: [min(a["ROWS"] + 2, a["H"])],
    "depthwise_backward": lambda a: [a["REPEAT"], a["ROWS"]],
    "pointwise_forward": lambda a: [-(-a["K"] // a["BLOCK_K"])],
    "pointwise_backward_input": lambda a: [-(-a["N"] // a["BLOCK_N"])],
    "separable_forward": lambda a: [-(-a["K"] // a["BLOCK_K"])],
    "column_statistics": lambda a: [-(-a["ROWS"] // a["BLOCK_M"])],
    "pool_sums": lambda a: [-(-a["ROWS"] // a["BLOCK_P"])],
    "activation_backward": lambda a: [-(-a["ROWS"] // a["BLOCK_M"])],
    "add_rows": lambda a: [-(-a["ROWS"] // a["BLOCK_P"])],
    "add_and_part": lambda a: [-(-a["P"] // a["BLOCK_P"])],
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
    def given(self) -> Given:
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


def training_step(batch: int, pins: dict[str, tuning.Config]) -> Step:
    """Records a step of Xception at 299x299 in bfloat16, with the first configurations.

    Args:
        batch: Images.
        pins: Configurations of kernels that are taken instead.
    """
    step = Step()

    def start(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
        # Tensors without memory of their own kind: autograd counts who holds the ones it has made.
        kept = tuple(torch.empty_like(a) if isinstance(a, Tensor) else a for a in arguments)
        same = {id(a): k for a, k in zip(arguments, kept, strict=True)}
        step.launches.append(Launch(kernel, grid, tuple(same[id(a)] for a in arguments), options))

    model = create_model("xception", numerics="timm").to("meta").train()
    images = torch.empty(batch, 3, 299, 299, device="meta", dtype=torch.bfloat16)
    with contextlib_patches(start), tuning.pinned(pins), _Recorder(step):
        features = fused_features(model, images.to(memory_format=torch.channels_last))
        model.head(features.float()).sum().backward()
    return step


def contextlib_patches(start: Callable[..., None]) -> Any:
    """Launches are noted, not run; the operators take tensors without memory for a GPU's."""
    import contextlib

    stack = contextlib.ExitStack()
    for module in LAUNCHES:
        stack.enter_context(mock.patch.object(module, "start", start))
    for other in (batch_norm, convolution):
        stack.enter_context(mock.patch.object(other, "runs_kernel", lambda tensor: True))
    stack.enter_context(mock.patch.object(unit, "compute_dtype", lambda tensor: torch.bfloat16))
    return stack


@dataclass(frozen=True)
class Bound:
    """Milliseconds that a launch takes at least, by what limits it; and what it occupies."""

    memory: float
    issue: float
    half_rate: float
    cache: float
    tensor: float
    code: Code
    warps: int

    @property
    def longest(self) -> float:
        """Milliseconds at least."""
        return max(self.memory, self.issue, self.half_rate, self.cache, self.tensor)

    @property
    def limit(self) -> str:
        """Which of them is the longest."""
        names = ("memory", "issue", "half_rate", "cache", "tensor")
        return max(names, key=lambda name: float(getattr(self, name)))


def bound(launch: Launch, memory: float = MEMORY) -> Bound:
    """Predicts a launch.

    Args:
        launch: The kernel with its arguments.
        memory: Bytes a second.
    """
    code = compiled(launch.kernel, launch.arguments, launch.options)
    done = work(code, TRIPS.get(launch.name, lambda given: [])(launch.given))
    warps = int(launch.options.get("num_warps", 4))
    total = math.prod(launch.grid) * warps
    slots = MULTIPROCESSORS * SCHEDULERS * HERTZ
    registers = -(-max(code.registers, 24) // 8) * 8
    programs = min(
        64 // warps, 65536 // (registers * 32 * warps), 227 * 1024 // (code.shared + 1024)
    )
    return Bound(
        launch.gigabytes * 1e12 / memory,
        done.issued * total / slots * 1000,
        2 * done.half_rate * total / slots * 1000,
        (done.global_bytes + done.local_bytes) * total / CACHE * 1000,
        done.flop * total / TENSOR * 1000,
        code,
        programs * warps,
    )


def rows(step: Step, memory: float) -> Iterator[tuple[str, list[Bound], list[Launch]]]:
    """Launches and their bounds, kernel by kernel."""
    grouped: dict[str, list[Launch]] = collections.defaultdict(list)
    for launch in step.launches:
        grouped[launch.name].append(launch)
    for name, launches in grouped.items():
        yield name, [bound(launch, memory) for launch in launches], launches


def table(step: Step, memory: float = MEMORY) -> list[str]:
    """The prediction as a table in Markdown, and its sum."""
    lines = [
        "| kernel | launches | memory | issue | half rate | cache | tensor | longest | limit of most "
        "| registers | warps of 64 |",
        "| --- " * 11 + "|",
    ]
    total = floor = 0.0
    for name, bounds, launches in rows(step, memory):
        sums = [
            sum(getattr(b, kind) for b in bounds)
            for kind in ("memory", "issue", "half_rate", "cache", "tensor", "longest")
        ]
        weights: collections.Counter[str] = collections.Counter()
        for one in bounds:
            weights[one.limit] += one.longest
            assert one.code.spills == 0, f"{name} spills"
        registers, occupied = (
            f"{min(values)}–{max(values)}" if min(values) < max(values) else f"{values[0]}"
            for values in ([b.code.registers for b in bounds], [b.warps for b in bounds])
        )
        figures = " | ".join(f"{value:.2f}" for value in sums)
        limit = weights.most_common(1)[0][0].replace("_", " ")
        lines.append(
            f"| `{name}` | {len(launches)} | {figures} | {limit} | {registers} | {occupied} |"
        )
        total, floor = total + sums[-1], floor + sums[0]
    lines.append(
        f"| our kernels | {len(step.launches)} | {floor:.2f} | | | | | {total:.2f} | | | |"
    )
    for name, calls in sorted(step.library.items(), key=lambda item: -sum(b for b, _ in item[1])):
        bytes_ = sum(moved for moved, _ in calls) * 1e12 / memory
        if bytes_ < 0.005:
            continue
        flop = sum(operations for _, operations in calls) * 1e15 / TENSOR
        longest = sum(max(b * 1e12 / memory, f * 1e15 / TENSOR) for b, f in calls)
        lines.append(
            f"| library: {name} | {len(calls)} | {bytes_:.2f} | | | | {flop:.2f} | {longest:.2f} "
            "| | | |"
        )
        total, floor = total + longest, floor + bytes_
    others = sum(len(calls) for calls in step.library.values())
    lines.append(
        f"| whole step | {len(step.launches) + others} | {floor:.2f} | | | | | {total:.2f} | | | |"
    )
    return lines


def main(arguments: list[str]) -> None:
    """Prints the table, or writes it with its description."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--output", type=Path, help="a Markdown file")
    options = parser.parse_args(arguments)
    step = training_step(options.batch, {})
    text = "\n".join(table(step))
    print(text)
    if options.output:
        versions = f"torch {torch.__version__.split('+')[0]}, triton {triton.__version__}"
        options.output.write_text(f"{versions}, batch {options.batch}\n\n{text}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
