"""CPU training: layout, compiler and kept memory beside timm's network in eager mode.

    python benchmarks/cpu_training.py step --dtypes float32 bfloat16
    python benchmarks/cpu_training.py loop cifar10-xception --steps 25

``step`` times one step (forward, cross-entropy, backward, SGD) of Xception, as ``xception benchmark
train`` does, but with a choice of modes and dtypes for each network. ``loop`` runs ``xception
train`` itself, with the recipe's network, optimizer and averages, once for every setting; its data
are the embedded digits, enlarged to the size of the images, which cost no decoding. The median
leaves out the first ``--skip`` steps, and the time that the compiler takes is told apart.
"""

import argparse
import csv
import datetime
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from xception.benchmark.contenders import Contender
from xception.benchmark.race import run_race
from xception.benchmark.work import Prepared, Work, prepare

STEP_CONTENDERS = [
    ("timm:legacy_xception", "eager"),
    ("xception", "channels_last"),
    ("xception", "channels_last+keep_memory"),
    ("xception", "channels_last+compile+keep_memory"),
]


@dataclass(frozen=True)
class Entrant:
    """A contender in a dtype.

    Attributes:
        contender: Network and mode.
        dtype: See `xception.benchmark.work.Work`.
    """

    contender: Contender
    dtype: str

    @property
    def label(self) -> str:
        """For messages and tables."""
        return f"{self.contender.label}, {self.dtype}"

    @property
    def words(self) -> frozenset[str]:
        """Of the mode."""
        return self.contender.words


def prepare_entrant(entrant: Entrant, work: Work) -> Prepared:
    """What ``prepare`` does, in the entrant's dtype."""
    return prepare(entrant.contender, replace(work, dtype=entrant.dtype))


SETTINGS = {
    "contiguous": (False, False, False),
    "channels_last": (True, False, False),
    "channels_last, keep_memory": (True, False, True),
    "channels_last, keep_memory, compile": (True, True, True),
}


def step(options: argparse.Namespace) -> list[str]:
    """Markdown lines: the time of one step."""
    work = Work("train", options.batch_size, options.size, "float32", options.threads, "cpu")
    names = options.contenders or range(len(STEP_CONTENDERS))
    lanes = run_race(
        [
            Entrant(Contender(*STEP_CONTENDERS[number]), dtype)
            for dtype in options.dtypes
            for number in names
        ],
        work,
        rounds=options.rounds,
        warm_up=options.warm_up,
        prepare=prepare_entrant,
        tell=lambda text: print(text, file=sys.stderr, flush=True),
    )
    first = statistics.median(lanes[0].seconds)
    lines = [
        f"One step: batch {work.batch_size}, {work.image_size}x{work.image_size}, "
        f"{work.threads} threads, {options.rounds} rounds.",
        "",
        "| network, mode, dtype | ms | lowest–highest | peak GiB | speed over the first row |",
        "| --- | --- | --- | --- | --- |",
    ]
    for lane in lanes:
        if lane.failure:
            lines.append(f"| {lane.contender.label} | {lane.failure} | | | |")
            continue
        median = statistics.median(lane.seconds)
        lines.append(
            f"| {lane.contender.label} | {1000 * median:,.0f} "
            f"| {1000 * min(lane.seconds):,.0f}–{1000 * max(lane.seconds):,.0f} "
            f"| {lane.peak_bytes / 2**30:.2f} | {first / median:.2f} |"
        )
    return lines


def run_loop(
    recipe: str, name: str, options: argparse.Namespace
) -> tuple[list[float], float, int, float]:
    """Trains.

    Returns:
        The images per second of every step and the seconds of the first; of the whole process, the
        page faults and the processor's seconds in the system.
    """
    channels_last, compiled, kept = SETTINGS[name]
    with tempfile.TemporaryDirectory() as folder:
        words = [
            *(sys.executable, "-m", "xception", "train", recipe, "--output", f"{folder}/run"),
            *("--data.name", "digits", "--trainer.max_steps", str(options.steps)),
            *("--trainer.log_every_n_steps", "1", "--trainer.enable_progress_bar", "false"),
            *("--trainer.limit_val_batches", "0", "--data.num_workers", "0"),
            *("--training.channels_last", str(channels_last).lower()),
            *("--training.compile", str(compiled).lower()),
            *("--training.keep_memory", str(kept).lower(), "--trainer.accelerator", "cpu"),
            *options.overrides,
        ]
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
        print(f"{recipe}, {name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        faults, system = after.ru_minflt - before.ru_minflt, after.ru_stime - before.ru_stime
        with Path(f"{folder}/run/metrics.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["images_per_second"]]
    seconds = float(rows[0]["elapsed_seconds"])
    return [float(row["images_per_second"]) for row in rows], seconds, faults, system


def loop(options: argparse.Namespace) -> list[str]:
    """Markdown lines: the speed of ``xception train``."""
    lines = [
        f"`xception train {shlex.join([options.recipe, *options.overrides])}`, {options.steps} "
        f"steps, {options.threads} threads; images/s, median from step {options.skip + 1} on.",
        "",
        "| setting | images/s | quartiles | first step, s | page faults | in the system, s "
        "| over the first row |",
        "|" + " --- |" * 7,
    ]
    first = 0.0
    for name in options.settings:
        speeds, seconds, faults, system = run_loop(options.recipe, name, options)
        low, median, high = statistics.quantiles(speeds[options.skip :], n=4)
        first = first or median
        lines.append(
            f"| {name} | {median:.2f} | {low:.2f}–{high:.2f} | {seconds:.1f} "
            f"| {faults:,} | {system:.1f} | {median / first:.2f} |"
        )
    return lines


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("step")
    one.add_argument("--dtypes", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    one.add_argument("--contenders", type=int, nargs="+", help="their numbers, from 0")
    one.add_argument("--batch-size", type=int, default=8)
    one.add_argument("--size", type=int, default=299)
    one.add_argument("--rounds", type=int, default=3)
    one.add_argument("--warm-up", type=int, default=0)
    whole = kinds.add_parser("loop")
    whole.add_argument("recipe")
    whole.add_argument("--steps", type=int, default=20)
    whole.add_argument("--skip", type=int, default=4)
    whole.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    whole.add_argument("--overrides", nargs=argparse.REMAINDER, default=[])
    for kind in (one, whole):
        kind.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    from xception.export.extras import versions_of

    options = read_options()
    lines = step(options) if options.kind == "step" else loop(options)
    told = ", ".join(f"{n} {v}" for n, v in versions_of("torch", "timm", "lightning").items())
    print("\n".join(lines))
    print(f"\n{datetime.date.today()}; python {sys.version.split()[0]}, {told}\n")
    print(f"    python {shlex.join(sys.argv)}\n")


if __name__ == "__main__":
    main()
