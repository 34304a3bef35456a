"""The kernel benchmark's tables: every kernel, training, inference."""

import math
from collections.abc import Callable

import torch

from xception.benchmark.kernels_cases import cases
from xception.benchmark.kernels_device import Machine
from xception.benchmark.kernels_models import (
    NAMES,
    build,
    contenders,
    inference_step,
    training_step,
)
from xception.benchmark.kernels_timing import Contender, median_milliseconds, time_interleaved

PAPER_RATIO = 28 / 31  # steps per second, Xception over Inception V3 (table 3)


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
        machine.figures.setdefault("kernels", []).append(
            {
                "kernel": case.kernel,
                "size": case.size,
                "a_step": case.count,
                "milliseconds": times[0],
                "plain_milliseconds": times[1],
                "floor_milliseconds": floor,
                "of_copy": bandwidth / machine.gb_per_ms,
                "of_matrix": rate / machine.teraflop_per_ms,
            }
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


def network_table(machine: Machine, runs: list[Contender], batch: int, work: str) -> list[str]:
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
    machine.figures[f"{work}, batch {batch}"] = [
        {
            "network": run.name,
            "milliseconds": run.milliseconds,
            "images_per_second": batch * 1000 / run.median if run.milliseconds else None,
            "peak_gib": None if math.isnan(run.peak_gib) else run.peak_gib,
            "failure": run.failure,
        }
        for run in runs
    ]
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

    return network_table(
        machine, contenders(make, machine.compile_modes), machine.batch, "training"
    )


def inference_table(machine: Machine, batch: int) -> list[str]:
    """Inference of all networks; small batches as CUDA graphs, so that Python's time is out."""
    images = _images(machine, batch)

    def make(name: str, mode: str) -> Callable[[], object]:
        model = build(name, machine.width).to(machine.device)
        model.to(memory_format=torch.channels_last)
        return inference_step(model, images, mode, graph=machine.cuda and batch <= 8)

    return network_table(machine, contenders(make, machine.compile_modes), batch, "inference")


def _images(machine: Machine, batch: int) -> torch.Tensor:
    size = machine.image_size
    images = torch.rand(batch, 3, size, size, device=machine.device) * 2 - 1
    return images.to(memory_format=torch.channels_last)
