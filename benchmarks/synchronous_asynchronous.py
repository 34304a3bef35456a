"""Synchronous against asynchronous training: the same recipe, seeds and steps, compared in pairs.

What is compared, and what counts as equal, stands in docs/synchronous-and-asynchronous.md and was
written before the runs. Finished runs are kept, so an interrupted series goes on where it was.

    python benchmarks/synchronous_asynchronous.py run FOLDER
    python benchmarks/synchronous_asynchronous.py run FOLDER --workers 1 2 8 16 --seeds 1
    python benchmarks/synchronous_asynchronous.py run FOLDER --engine ray --workers 2
    python benchmarks/synchronous_asynchronous.py report FOLDER --csv runs.csv
"""

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xception.paper.decision import LEVEL, MARGIN
from xception.paper.statistics import compare_paired, equivalence_p, outside_p

RECIPE = "digit-scenes-xception"
JITTER = 0.3
LOSSES = (2.0, 1.0, 0.5)
COLUMNS = (
    *("engine", "workers", "seed", "map", "validation_loss", "steps", "seconds", "mean_staleness"),
    *(f"steps_to_{loss}" for loss in LOSSES),
    *(f"seconds_to_{loss}" for loss in LOSSES),
)

Row = dict[str, Any]


def run(
    folder: Path, engine: str, workers: int, seed: int, options: Sequence[str], label: str = ""
) -> None:
    """One run in a process of its own, unless it is there; its checkpoints are deleted."""
    place = folder / "-".join(filter(None, (engine, label, str(workers), str(seed))))
    if (place / "summary.json").is_file():
        return
    keys = ["--seed", str(seed), "--data.num_workers", "0"]
    keys += ["--trainer.enable_progress_bar", "false"]
    if engine != "synchronous":
        keys += ["--asynchronous.engine", engine, "--asynchronous.workers", str(workers)]
        keys += ["--asynchronous.jitter", str(JITTER)] if engine == "simulator" else []
    command = [sys.executable, "-m", "xception", "train", RECIPE, "--output", str(place)]
    place.parent.mkdir(parents=True, exist_ok=True)
    with (folder / f"{place.name}.log").open("w") as log:
        subprocess.run([*command, "--overwrite", *keys, *options], check=True, stdout=log)
    shutil.rmtree(place / "checkpoints", ignore_errors=True)


def read_run(place: Path) -> Row:
    """The figures of a finished run.

    Args:
        place: Its directory, called ENGINE-WORKERS-SEED or ENGINE-LABEL-WORKERS-SEED.
    """
    engine, workers, seed = place.name.rsplit("-", 2)
    summary = json.loads((place / "summary.json").read_text())
    with (place / "metrics.csv").open() as file:
        validations = [row for row in csv.DictReader(file) if row["validation_loss"]]
    row: Row = {
        "engine": engine,
        "workers": int(workers),
        "seed": int(seed),
        "map": summary["evaluation"]["map"],
        "validation_loss": float(validations[-1]["validation_loss"]),
        "steps": summary["training"]["steps"],
        "seconds": summary["training"]["seconds"],
        "mean_staleness": summary["training"].get("asynchronous", {}).get("mean_staleness", 0.0),
    }
    for loss in LOSSES:
        found = first_below(validations, loss)
        row[f"steps_to_{loss}"] = "" if found is None else int(found["step"])
        row[f"seconds_to_{loss}"] = "" if found is None else float(found["elapsed_seconds"])
    return row


def first_below(validations: Sequence[dict[str, str]], loss: float) -> dict[str, str] | None:
    """The first validation whose loss is at most so large; None where there is none."""
    return next((row for row in validations if float(row["validation_loss"]) <= loss), None)


def verdict(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The comparison of asynchronous (ours) with synchronous runs over the same seeds, told."""
    found = compare_paired(ours, theirs)
    if found.count < 2:
        return f"difference {found.difference:+.4f}, one pair: no test"
    inside, outside = equivalence_p(found, MARGIN), outside_p(found, MARGIN)
    outcome = "undecided"
    if inside <= LEVEL:
        outcome = "equal within the margin"
    elif outside <= LEVEL:
        outcome = "not equal: outside the margin"
    return (
        f"{outcome}: difference {found.difference:+.4f} (95 % interval {found.low:+.4f} to "
        f"{found.high:+.4f}, {found.count} pairs), p of equivalence {inside:.2g}, p of a "
        f"difference beyond the margin {outside:.2g}"
    )


def report(rows: Sequence[Row]) -> list[str]:
    """The tables and the verdicts, as lines of Markdown."""
    kinds = sorted({(row["engine"], row["workers"]) for row in rows}, key=lambda k: (k[0], k[1]))
    kinds.sort(key=lambda kind: kind[0] != "synchronous")
    told = " | ".join(f"steps to loss {loss}" for loss in LOSSES)
    lines = [
        f"| engine | workers | seeds | mean staleness | MAP@4, mean (least to greatest) | {told} |",
        "| --- " * (5 + len(LOSSES)) + "|",
    ]
    for engine, workers in kinds:
        own = [row for row in rows if (row["engine"], row["workers"]) == (engine, workers)]
        maps = [row["map"] for row in own]
        staleness = statistics.mean(row["mean_staleness"] for row in own)
        cells = [engine, str(workers), str(len(own)), f"{staleness:.2f}"]
        cells.append(f"{statistics.mean(maps):.4f} ({min(maps):.4f} to {max(maps):.4f})")
        for loss in LOSSES:
            steps = [row[f"steps_to_{loss}"] for row in own]
            reached = [step for step in steps if step != ""]
            mean = f"{statistics.mean(reached):.0f}" if reached else "-"
            missing = len(steps) - len(reached)
            cells.append(mean + (f" ({missing} of {len(steps)} never)" if missing else ""))
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    synchronous = {row["seed"]: row["map"] for row in rows if row["engine"] == "synchronous"}
    for engine, workers in kinds:
        maps_of = {
            row["seed"]: row["map"]
            for row in rows
            if (row["engine"], row["workers"]) == (engine, workers)
        }
        seeds = sorted(maps_of.keys() & synchronous.keys())
        if engine != "synchronous" and len(seeds) > 1:
            compared = verdict([maps_of[s] for s in seeds], [synchronous[s] for s in seeds])
            lines.append(f"- {engine}, {workers} workers: {compared}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engine", choices=["simulator", "ray"], default="simulator")
    parser.add_argument("--workers", type=int, nargs="+", default=[4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--csv", type=Path, help="where the report writes the runs' figures")
    parser.add_argument(
        "--label", default="", help="name of runs with other keys; no synchronous ones are made"
    )
    parser.add_argument("--keys", nargs=argparse.REMAINDER, default=[], help="more recipe keys")
    options = parser.parse_args()
    if options.what == "run":
        for seed in options.seeds:
            if not options.label:
                run(options.folder, "synchronous", 1, seed, options.keys)
            for workers in options.workers:
                run(options.folder, options.engine, workers, seed, options.keys, options.label)
        return
    rows = [read_run(path.parent) for path in sorted(options.folder.glob("*/summary.json"))]
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    print("\n".join(report(rows)))


if __name__ == "__main__":
    main()
