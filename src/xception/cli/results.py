"""The table that a run ends with, from its ``summary.json``."""

import json
import sys

from xception.errors import count_of
from xception.training.run_directory import RunDirectory


def print_results(run: RunDirectory) -> None:
    """Prints the figures of a finished run and the path of its report.

    Args:
        run: A finished run's directory.
    """
    from rich.console import Console
    from rich.table import Table

    summary = json.loads(run.summary.read_text())
    found, training = summary["evaluation"], summary["training"]
    table = Table("figure", "value", title=f"{summary['recipe']}: held-out images")
    table.title_justify, table.columns[1].justify = "left", "right"
    table.add_row("images", f"{found['images']:,}")
    for name, value in found.items():
        if name.startswith("top") and value is not None:
            table.add_row(f"top-{name[3:]} accuracy", f"{value:.4f}")
    if "map" in found:
        value = "undefined" if found["map"] is None else f"{found['map']:.4f}"
        table.add_row(f"MAP@{found['k']}, per {found['reading']}", value)
        table.add_row("divided by", found.get("denominator", "see docs/metrics.md"))
        table.add_row("without a label", f"{found['unlabeled_images']:,}")
        table.add_row("predictions not annotated", found["unannotated"].replace("-", " "))
    else:
        table.add_row("loss", f"{found['loss']:.4f}" if found["loss"] is not None else "none")
    whole = summary["evaluation_with_blacklisted"]
    if whole:
        table.add_row(f"top-1 / top-5 on all {whole['images']:,}", _pair(whole))
    if found["skipped"]:
        table.add_row("unreadable, left out", str(found["skipped"]))
    if training["unreadable"]:
        table.add_row("unreadable in training", str(len(training["unreadable"])))
    if training.get("kept") == "best":
        chosen = f"step {training['best_step']}, best of {training['validations']}"
        table.add_row("weights, chosen by these images", chosen)
    table.add_row("parameters", f"{summary['parameters']:,}")
    table.add_row("training", f"{training['seconds']:.0f} s")
    table.add_row("images/s in training", f"{training['images_per_second']:.0f}")
    Console().print(table)
    print(f"report: {run.report}")


def report_unreadable(run: RunDirectory) -> int:
    """Says how many images a finished run could not read; returns the exit code, 0 or 1."""
    summary = json.loads(run.summary.read_text())
    count = len(summary["training"]["unreadable"]) + summary["evaluation"]["skipped"]
    if count:
        print(
            f"xception: {count_of(count, 'image')} could not be read; see {run.report}",
            file=sys.stderr,
        )
    return 1 if count else 0


def _pair(figures: dict[str, float]) -> str:
    return " / ".join(f"{figures[name]:.4f}" for name in figures if name.startswith("top"))
