"""Predicts the fused training step from the kernels' machine code. An analysis, NOT a measurement.

Notes every launch of a training step, compiles each kernel for an H100 and counts what its warps
do. A launch takes at least the longest of: its tensors once through memory, its instructions
through the schedulers, its bytes through the first-level caches, its products through the tensor
cores. Latencies, launches' own time and waits for one another come on top. Needs no GPU.

    python benchmarks/kernels_static.py --configurations first
    python benchmarks/kernels_static.py --output benchmarks/results/NAME.md

By default each launch has the configuration that is predicted to be the fastest, which compiles
them all; with "first" it is the one that is taken where configurations are pinned.
"""

import argparse
import collections
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from machine_code import Code, compiled, work
from recorded_step import Launch, Step, training_step

# An H100 SXM; an H200 has the same multiprocessors and 4.8e12 bytes a second.
MULTIPROCESSORS, SCHEDULERS, HERTZ = 132, 4, 1.7e9
MEMORY = {"H100": 3.35e12, "H200": 4.8e12}
CACHE = MULTIPROCESSORS * 128 * HERTZ
TENSOR = 989e12

Given = dict[str, Any]
# How often a kernel's loops run, the outer ones first, from what it is launched with.
TRIPS: dict[str, Callable[[Given], list[int]]] = {
    "depthwise_forward": lambda a: [min(a["ROWS"] + 2, a["H"])],
    "depthwise_backward": lambda a: [a["REPEAT"], a["ROWS"]],
    "pointwise_forward": lambda a: [-(-a["K"] // a["BLOCK_K"])],
    "pointwise_backward_input": lambda a: [-(-a["N"] // a["BLOCK_N"])],
    "pointwise_backward_whole": lambda a: [a["TILES"]],
    "separable_forward": lambda a: [-(-a["K"] // a["BLOCK_K"])],
    "column_statistics": lambda a: [-(-a["ROWS"] // a["BLOCK_M"])],
    "pool_sums": lambda a: [-(-a["ROWS"] // a["BLOCK_P"])],
    "activation_backward": lambda a: [-(-a["ROWS"] // a["BLOCK_M"])],
    "add_rows": lambda a: [-(-a["ROWS"] // a["BLOCK_P"])],
    "add_and_part": lambda a: [-(-a["P"] // a["BLOCK_P"])],
}


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


def bound(launch: Launch, memory: float) -> Bound:
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


def library_milliseconds(gigabytes: float, teraflop: float, memory: float) -> float:
    """An operation of PyTorch takes at least this, its tensors moved once or its products."""
    return max(gigabytes * 1e12 / memory, teraflop * 1e15 / TENSOR)


def predicted(step: Step, memory: float) -> float:
    """Milliseconds at least of all that was recorded."""
    ours = sum(bound(launch, memory).longest for launch in step.launches)
    calls = (call for calls in step.library.values() for call in calls)
    return ours + sum(library_milliseconds(*call, memory) for call in calls)


def rows(step: Step, memory: float) -> Iterator[tuple[str, list[Bound], list[Launch]]]:
    """Launches and their bounds, kernel by kernel."""
    grouped: dict[str, list[Launch]] = collections.defaultdict(list)
    for launch in step.launches:
        grouped[launch.name].append(launch)
    for name, launches in grouped.items():
        yield name, [bound(launch, memory) for launch in launches], launches


def table(step: Step, memory: float) -> list[str]:
    """The prediction as a table in Markdown, and its sum."""
    lines = [
        "| kernel | launches | memory | issue | half rate | cache | tensor | longest | limit of "
        "most | registers | warps of 64 |",
        "| --- " * 11 + "|",
    ]
    total = floor = 0.0
    for name, bounds, launches in rows(step, memory):
        sums = [
            sum(getattr(b, kind) for b in bounds)
            for kind in ("memory", "issue", "half_rate", "cache", "tensor", "longest")
        ]
        weights: dict[str, float] = collections.defaultdict(float)
        for one in bounds:
            weights[one.limit] += one.longest
            assert one.code.spills == 0, f"{name} spills"
        registers, occupied = (
            f"{min(values)}–{max(values)}" if min(values) < max(values) else f"{values[0]}"
            for values in ([b.code.registers for b in bounds], [b.warps for b in bounds])
        )
        figures = " | ".join(f"{value:.2f}" for value in sums)
        limit = max(weights, key=weights.__getitem__).replace("_", " ")
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
        longest = sum(library_milliseconds(*call, memory) for call in calls)
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
    parser.add_argument("--configurations", choices=("predicted", "first"), default="predicted")
    parser.add_argument("--gpu", choices=sorted(MEMORY), default="H100")
    options = parser.parse_args(arguments)
    memory = MEMORY[options.gpu]
    predict = (lambda step: predicted(step, memory)) if options.configurations != "first" else None
    step = training_step(options.batch, predict)
    text = "\n".join(table(step, memory))
    print(text)
    if options.output:
        versions = f"torch {torch.__version__.split('+')[0]}, triton {triton.__version__}"
        head = f"{options.gpu}, batch {options.batch}, {versions}; milliseconds"
        options.output.write_text(f"{head}\n\n{text}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
