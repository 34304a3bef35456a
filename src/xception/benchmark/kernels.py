"""Fused kernels on a CUDA GPU: checks them, then times kernels and whole networks.

    xception benchmark kernels

prints the tables and writes them to benchmarks/results/kernels-<gpu>-<date>.md (``--output``), and
all figures to a file beside it that ends with .json (``--json``); ``--plot`` draws a picture. Both
files are written after every row. A run that is stopped loses the row in work, and the same command
goes on with what is missing; ``--only``, ``--match`` and ``--minutes`` make runs short.
bfloat16, channels_last, 299x299; kernels and training at batch 256, inference at batch 256 and 1.
Contenders of a run are interleaved; medians over the rounds. The first run also tunes the kernels
and compiles the networks, which takes longer than the timing; both are cached.

``--smoke`` runs every line on the CPU at tiny sizes, where the plain references stand in for the
kernels: a test of this script, whose figures mean nothing.
"""

import argparse
import datetime
import importlib.metadata
import logging
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from xception.benchmark.kernels_check import check
from xception.benchmark.kernels_device import Machine
from xception.benchmark.kernels_parts import time_inference, time_kernels, time_training
from xception.benchmark.kernels_plot import draw
from xception.benchmark.kernels_record import Figures, Record
from xception.benchmark.kernels_tables import PAPER_RATIO, report
from xception.benchmark.report import require_folder, require_picture
from xception.errors import InputError, RunFailedError
from xception.kernels.tuning import source_digest
from xception.weights.atomic import replacing

PARTS = ("training", "inference", "kernels")


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
    parser.add_argument("--only", help=f"some of {','.join(PARTS)}, separated by commas")
    parser.add_argument(
        "--match", help="only rows whose table or name contains this; several are separated by ;"
    )
    parser.add_argument(
        "--minutes", type=float, help="begins no row after that; the next run goes on"
    )
    parser.add_argument(
        "--again", action="store_true", help="measure what is already in the file, too"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--json", type=Path, help="the file of all figures; by default in --output")
    parser.add_argument("--plot", type=Path, help="picture to write: .svg, .png or .pdf")
    parser.add_argument("--smoke", action="store_true", help="tiny, on the CPU: tests the script")
    try:
        chosen, unknown = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise InputError(f"{error}; see {parser.prog} --help") from None
    for part in chosen.only.split(",") if chosen.only else []:
        if part not in PARTS:
            raise InputError(f"--only {chosen.only}: there is no part {part!r}; {', '.join(PARTS)}")
    if unknown:
        raise InputError(f"there is no option {unknown[0]}; see {parser.prog} --help")
    return chosen


def _heading(machine: Machine, command: str) -> dict[str, Any]:
    versions = [f"{name} {_version(name)}" for name in ("torch", "timm")]
    if machine.cuda:
        versions += [f"triton {_version('triton')}", f"CUDA {torch.version.cuda}"]
        versions.append(f"cuDNN {torch.backends.cudnn.version()}")
    return {
        "device": machine.name,
        "batch": machine.batch,
        "sources": source_digest(),
        "command": command,
        "date": str(datetime.date.today()),
        "versions": ", ".join(versions),
        "bytes_per_second": machine.gb_per_ms * 1e12,
        "flop_per_second": machine.teraflop_per_ms * 1e15,
        "paper_ratio": PAPER_RATIO,
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def main(words: Sequence[str]) -> int:
    """Checks, times, prints and writes; returns the exit code.

    Args:
        words: The options.

    Raises:
        InputError: There is no GPU, or an unknown option.
        RunFailedError: A kernel computes something wrong; the others' figures stand.
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
    logging.getLogger("xception.kernels.tuning").addHandler(logging.StreamHandler(sys.stdout))
    logging.getLogger("xception.kernels.tuning").setLevel(logging.INFO)
    machine = Machine(arguments)
    name = re.sub(r"[^a-z0-9]+", "-", machine.name.lower()).strip("-")
    path = arguments.output / f"kernels-{name}-{datetime.date.today()}.md"
    arguments.output.mkdir(parents=True, exist_ok=True)

    def write_tables(figures: Figures) -> None:
        with replacing(path) as partial:
            partial.write_text(report(figures))

    record = Record(
        arguments.json or path.with_suffix(".json"),
        _heading(machine, shlex.join(["xception", "benchmark", "kernels", *words])),
        render=write_tables,
        again=arguments.again,
        minutes=arguments.minutes,
        wanted=[word for word in (arguments.match or "").split(";") if word],
    )
    record.say(f"{machine.name}: copy {machine.gb_per_ms * 1000:.0f} GB/s")
    parts = arguments.only.split(",") if arguments.only else PARTS
    verdict = check(machine, record)
    for part in PARTS:
        if part not in parts:
            continue
        if part == "training":
            time_training(machine, record, verdict)
        elif part == "inference":
            for batch in (machine.batch, 1):
                time_inference(machine, record, batch, verdict)
        else:
            time_kernels(machine, record)
    print(f"\n{report(record.figures)}")
    if arguments.plot:
        draw(record.figures, machine.name, arguments.plot)
    if record.left_out:
        print("no time was left for (the same command goes on with them):")
        print("\n".join(record.left_out))
    print(f"written to {path}")
    if verdict:
        raise RunFailedError(f"{verdict}; the fused network was not timed")
    return 0
