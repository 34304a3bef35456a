"""Fused kernels on a CUDA GPU: checks them, then times kernels and whole networks.

    xception benchmark kernels

prints the tables and writes them to benchmarks/results/kernels-<gpu>-<date>.md (``--output``).
bfloat16, channels_last, 299x299; kernels and training at batch 256, inference at batch 1 and 256.
Contenders are interleaved; medians over the rounds. The first run also tunes the kernels and
compiles the networks, which takes longer than the timing; both are cached.

``--smoke`` runs every line on the CPU at tiny sizes, where the plain references stand in for the
kernels: a test of this script, whose figures mean nothing.
"""

import argparse
import datetime
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from xception.benchmark.kernels_cases import cases
from xception.benchmark.kernels_models import (
    NAMES,
    build,
    contenders,
    inference_step,
    logits_error,
    training_step,
)
from xception.benchmark.kernels_timing import Contender, median_milliseconds, time_interleaved
from xception.errors import InputError, RunFailedError

PAPER_RATIO = 28 / 31  # steps per second, Xception over Inception V3 (table 3)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Reads the options."""
    parser = argparse.ArgumentParser(
        prog="xception benchmark kernels",
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--batch", type=int, default=256, help="images of a training step")
    parser.add_argument("--rounds", type=int, default=10, help="rounds over all contenders")
    parser.add_argument("--steps", type=int, default=5, help="steps of a contender in a round")
    parser.add_argument(
        "--compile-modes",
        default="default,max-autotune-no-cudagraphs",
        help="modes of torch.compile beside eager, separated by commas",
    )
    parser.add_argument(
        "--only", choices=["kernels", "training", "inference"], help="one part instead of all three"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--smoke", action="store_true", help="tiny, on the CPU: tests the script")
    try:
        chosen, unknown = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise InputError(f"{error}; see {parser.prog} --help") from None
    if unknown:
        raise InputError(f"there is no option {unknown[0]}; see {parser.prog} --help")
    return chosen


class Machine:
    """The device, its measured copy bandwidth and matrix rate, and the sizes to run."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.smoke = arguments.smoke
        self.device = "cpu" if self.smoke else "cuda"
        self.cuda = not self.smoke
        self.name = "CPU smoke test" if self.smoke else torch.cuda.get_device_name()
        self.batch = 2 if self.smoke else arguments.batch
        self.image_size = 75 if self.smoke else 299
        self.width = 0.125 if self.smoke else 1.0
        self.scale = 0.05 if self.smoke else 1.0  # of the kernels' maps
        self.rounds = 1 if self.smoke else arguments.rounds
        self.steps = 1 if self.smoke else arguments.steps
        modes = "" if self.smoke else arguments.compile_modes
        self.compile_modes = [mode for mode in modes.split(",") if mode]
        self.gb_per_ms, self.teraflop_per_ms = self._measure()

    def _measure(self) -> tuple[float, float]:
        elements, side = (2**20, 256) if self.smoke else (2**30, 8192)
        source = torch.empty(elements, dtype=torch.bfloat16, device=self.device)
        target = torch.empty_like(source)
        copy = median_milliseconds(lambda: target.copy_(source), repeats=20, cuda=self.cuda)
        square = torch.randn(side, side, dtype=torch.bfloat16, device=self.device)
        product = median_milliseconds(lambda: square @ square, repeats=20, cuda=self.cuda)
        return 2 * elements * 2 / 1e9 / copy, 2 * side**3 / 1e12 / product


def check(machine: Machine) -> list[str]:
    """Holds kernels and network against float32; raises if one is wrong. Returns table lines."""
    worst: dict[str, float] = defaultdict(float)
    for case in cases(2, machine.device, torch.bfloat16, machine.scale):
        worst[case.kernel] = max(worst[case.kernel], case.relative_error())
    fused, plain = logits_error(machine.width, machine.image_size, machine.device)
    lines = ["| what | largest error, of the largest value | allowed |", "| --- | --- | --- |"]
    lines += [f"| {kernel} | {error:.1e} | 3e-02 |" for kernel, error in worst.items()]
    allowed = max(2 * plain, 0.02)
    lines.append(f"| logits, fused bfloat16 (plain: {plain:.1e}) | {fused:.1e} | {allowed:.0e} |")
    wrong = [kernel for kernel, error in worst.items() if not error < 0.03]
    if wrong or not fused < allowed:
        print("\n".join(lines))
        raise RunFailedError(f"wrong results, nothing is timed: {', '.join(wrong) or 'logits'}")
    return lines


def kernel_table(machine: Machine) -> list[str]:
    """Times every kernel at every size, beside the same work in plain eager PyTorch."""
    lines = [
        "| kernel | size | a step | ms | GB/s | of copy | TFLOP/s | of peak | floor | plain ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    totals = {"ms": 0.0, "floor": 0.0, "plain": 0.0}
    repeats = 1 if machine.smoke else 20
    for case in cases(machine.batch, machine.device, torch.bfloat16, machine.scale):
        times = [
            median_milliseconds(case.runner(function), repeats=repeats, cuda=machine.cuda)
            for function in (case.fused, case.plain)
        ]
        floor = max(case.gigabytes / machine.gb_per_ms, case.teraflop / machine.teraflop_per_ms)
        bandwidth, rate = case.gigabytes / times[0], case.teraflop / times[0]  # per millisecond
        lines.append(
            f"| {case.kernel} | {case.size} | {case.count} | {times[0]:.3f} "
            f"| {bandwidth * 1000:.0f} | {bandwidth / machine.gb_per_ms:.0%} "
            f"| {rate * 1000:.0f} | {rate / machine.teraflop_per_ms:.0%} "
            f"| {floor:.3f} | {times[1]:.3f} |"
        )
        if case.summed:
            totals["ms"] += case.count * times[0]
            totals["floor"] += case.count * floor
            totals["plain"] += case.count * times[1]
    lines += [
        "",
        f"Kernels of a training step, each as often as it runs: {totals['ms']:.1f} ms; floor "
        f"{totals['floor']:.1f} ms; plain eager {totals['plain']:.1f} ms. (Depthwise and pointwise "
        "as two kernels; stem, shortcuts and head are not in it.)",
    ]
    return lines


def network_table(machine: Machine, runs: list[Contender], batch: int) -> list[str]:
    """Times contenders interleaved and compares the best of each network."""
    time_interleaved(runs, rounds=machine.rounds, steps=machine.steps, cuda=machine.cuda)
    lines = [
        "| network | ms | fastest-slowest round | images/s | peak GiB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for run in runs:
        speed = batch * 1000 / run.median
        lines.append(
            f"| {run.name} | {run.median:.2f} | {run.spread} | {speed:.0f} | {run.peak_gib:.1f} |"
        )
    best = {
        name: min(
            (run.median for run in runs if run.name.startswith(name) and run.milliseconds),
            default=float("nan"),
        )
        for name in NAMES
    }
    eager = {run.name: run.median for run in runs}.get("timm inception_v3, eager", float("nan"))
    fused = best["ours, fused"]
    return [
        *lines,
        "",
        "Fused, at its best, over the others at theirs: "
        f"{best['timm legacy_xception'] / fused:.2f} times timm's legacy_xception (target 1.7), "
        f"{best['timm inception_v3'] / fused:.2f} times Inception V3 (as near to 1 as can be), "
        f"{eager / fused:.2f} times eager Inception V3 (target 1.0), "
        f"{best['ours, plain'] / fused:.2f} times our plain layers. "
        f"The paper's training ratio to Inception V3 was {PAPER_RATIO:.2f}.",
    ]


def training_table(machine: Machine) -> list[str]:
    """Training steps of all networks, eager and compiled."""
    images = _images(machine, machine.batch)
    labels = torch.randint(1000, (machine.batch,), device=machine.device)

    def make(name: str, mode: str) -> Callable[[], object]:
        model = build(name, machine.width).to(machine.device)
        model.to(memory_format=torch.channels_last)
        return training_step(model, images, labels, mode)

    return network_table(machine, contenders(make, machine.compile_modes), machine.batch)


def inference_table(machine: Machine, batch: int) -> list[str]:
    """Inference of all networks; small batches as CUDA graphs, so that Python's time is out."""
    images = _images(machine, batch)

    def make(name: str, mode: str) -> Callable[[], object]:
        model = build(name, machine.width).to(machine.device)
        model.to(memory_format=torch.channels_last)
        return inference_step(model, images, mode, graph=machine.cuda and batch <= 8)

    return network_table(machine, contenders(make, machine.compile_modes), batch)


def _images(machine: Machine, batch: int) -> torch.Tensor:
    size = machine.image_size
    images = torch.rand(batch, 3, size, size, device=machine.device) * 2 - 1
    return images.to(memory_format=torch.channels_last)


def _header(machine: Machine, command: str) -> list[str]:
    import timm

    versions = f"torch {torch.__version__}, timm {timm.__version__}"
    if machine.cuda:
        import triton

        versions += f", triton {triton.__version__}, CUDA {torch.version.cuda}, "
        versions += f"cuDNN {torch.backends.cudnn.version()}"
    return [
        f"# Fused kernels on {machine.name}",
        "",
        f"`{command}`, {datetime.date.today()}, {versions}.",
        "",
        f"Measured here: copy {machine.gb_per_ms * 1000:.0f} GB/s (read and written), bfloat16 "
        f"product of 8192x8192 matrices {machine.teraflop_per_ms * 1000:.0f} TFLOP/s. A floor is "
        "the time to move each tensor once, or to multiply, at these rates.",
    ]


def main(words: Sequence[str]) -> int:
    """Checks, times, prints and writes; returns the exit code.

    Args:
        words: The options.

    Raises:
        InputError: There is no GPU, or an unknown option.
        RunFailedError: A kernel computes something wrong.
    """
    arguments = parse(words)
    if not arguments.smoke and not torch.cuda.is_available():
        raise InputError(
            "this benchmark needs a CUDA GPU, and torch sees none; --smoke tests it on the CPU"
        )
    torch.backends.cudnn.benchmark = True
    machine = Machine(arguments)
    lines = _header(machine, shlex.join(["xception", "benchmark", "kernels", *words]))
    lines += ["", "## Checks", "", *check(machine)]
    if arguments.only in (None, "kernels"):
        lines += ["", f"## Kernels, batch {machine.batch}", "", *kernel_table(machine)]
    if arguments.only in (None, "training"):
        lines += ["", f"## Training, batch {machine.batch}", "", *training_table(machine)]
    if arguments.only in (None, "inference"):
        for batch in (1, machine.batch):
            lines += ["", f"## Inference, batch {batch}", "", *inference_table(machine, batch)]
    print("\n".join(lines))
    arguments.output.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", machine.name.lower()).strip("-")
    path = arguments.output / f"kernels-{name}-{datetime.date.today()}.md"
    path.write_text("\n".join(lines) + "\n")
    print(f"\nwritten to {path}")
    return 0
