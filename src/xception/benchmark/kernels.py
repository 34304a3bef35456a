"""Fused kernels on a CUDA GPU: checks them, then times kernels and whole networks.

    xception benchmark kernels

prints the tables and writes them to benchmarks/results/kernels-<gpu>-<date>.md (``--output``);
``--json`` keeps all figures, ``--plot`` a picture.
bfloat16, channels_last, 299x299; kernels and training at batch 256, inference at batch 1 and 256.
Contenders are interleaved; medians over the rounds. The first run also tunes the kernels and
compiles the networks, which takes longer than the timing; both are cached.

``--smoke`` runs every line on the CPU at tiny sizes, where the plain references stand in for the
kernels: a test of this script, whose figures mean nothing.
"""

import argparse
import datetime
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from xception.benchmark.kernels_cases import cases
from xception.benchmark.kernels_device import Machine
from xception.benchmark.kernels_models import logits_error
from xception.benchmark.kernels_plot import draw
from xception.benchmark.kernels_tables import (
    PAPER_RATIO,
    inference_table,
    kernel_table,
    training_table,
)
from xception.benchmark.report import require_folder, require_picture
from xception.errors import InputError, RunFailedError


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
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    parser.add_argument("--plot", type=Path, help="picture to write: .svg, .png or .pdf")
    parser.add_argument("--smoke", action="store_true", help="tiny, on the CPU: tests the script")
    try:
        chosen, unknown = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise InputError(f"{error}; see {parser.prog} --help") from None
    if unknown:
        raise InputError(f"there is no option {unknown[0]}; see {parser.prog} --help")
    return chosen


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
    if arguments.plot:
        require_picture(arguments.plot)
    if arguments.json:
        require_folder("--json", arguments.json)
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
    if arguments.json:
        found = {
            "device": machine.name,
            "bytes_per_second": machine.gb_per_ms * 1e12,
            "flop_per_second": machine.teraflop_per_ms * 1e15,
            "paper_ratio": PAPER_RATIO,
            **machine.figures,
        }
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    if arguments.plot:
        draw(machine.figures, machine.name, arguments.plot)
    print(f"\nwritten to {path}")
    return 0
