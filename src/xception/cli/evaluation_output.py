"""An evaluation as a table on the terminal, and as a file with a row for each image."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xception.data.sources import ImageSource
from xception.inference.evaluation import Evaluation
from xception.inference.tables import table_file

CLASSES_SHOWN = 10  # the weakest ones

IMAGE_COLUMNS: dict[str, type] = {
    "image": str,
    "true_class": str,
    "predicted_class": str,
    "probability": float,
    "true_class_probability": float,
    "rank": int,
    "loss": float,
    "blacklisted": int,
    "error": str,
}


def show(found: Evaluation, facts: dict[str, Any]) -> None:
    """Prints the figures, and the weakest classes.

    Args:
        found: The evaluation, blacklisted images included.
        facts: Where they come from: model, data, split, weights, seconds, images_per_second; with
            8 bits, float32_top1 too.
    """
    kept = found.without_blacklisted()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column(_set_name(facts, kept, found), justify="right")
    columns = [kept]
    if found.blacklisted is not None:
        table.add_column("on all images", justify="right")
        columns.append(found)
    table.add_row("images", *(f"{part.num_images:,}" for part in columns))
    table.add_row("top-1 accuracy", *(f"{part.top1:.4f}" for part in columns))
    if "float32_top1" in facts:
        table.add_row("top-1 in float32", f"{facts['float32_top1']:.4f}")
    table.add_row(f"top-{kept.k} accuracy", *(f"{part.top5:.4f}" for part in columns))
    table.add_row("loss (nats)", *(f"{part.loss:.4f}" for part in columns))
    table.add_row("unreadable, left out", f"{len(found.skipped):,}")
    table.add_row("images per second", f"{facts['images_per_second']:,.1f}")
    console = Console()
    console.print(table)
    if kept.num_images:
        console.print()
        console.print(_weakest(kept))


def _set_name(facts: dict[str, Any], kept: Evaluation, found: Evaluation) -> Text:
    without = ", blacklist left out" if kept.num_images < found.num_images else ""
    return Text(f"{facts['data']}, {facts['split']}{without}")


def _weakest(kept: Evaluation) -> Table:
    accuracy, images = kept.accuracy_per_class, kept.images_per_class
    order = [index for index in np.argsort(accuracy, kind="stable") if images[index]]
    title = "class" if len(order) <= CLASSES_SHOWN else f"the {CLASSES_SHOWN} weakest classes"
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title)
    table.add_column("images", justify="right")
    table.add_column("top-1", justify="right")
    for index in order[:CLASSES_SHOWN]:
        name = Text(kept.class_names[index])
        table.add_row(name, f"{images[index]:,}", f"{accuracy[index]:.4f}")
    return table


def write_images(found: Evaluation, source: ImageSource, output: Path) -> None:
    """Writes a row for each image, unreadable ones included, in the source's order.

    Args:
        found: The evaluation, blacklisted images included.
        source: Tells the names of the images.
        output: Ends in .csv, .jsonl or .parquet. Columns: image, true_class, predicted_class,
            probability (of the predicted class), true_class_probability, rank (1: the true class
            is the most probable), loss in nats, blacklisted (0 or 1), error.
    """
    place = {int(index): row for row, index in enumerate(found.indices)}
    failed = dict(found.skipped)
    with table_file(output, IMAGE_COLUMNS) as table:
        for index in sorted([*place, *failed]):
            if index in failed:
                table.write({"image": source.describe(index), "error": failed[index]})
                continue
            row = place[index]
            withdrawn = found.blacklisted is not None and bool(found.blacklisted[row])
            table.write(
                {
                    "image": source.describe(index),
                    "true_class": found.class_names[found.labels[row]],
                    "predicted_class": found.class_names[found.predictions[row]],
                    "probability": float(found.probabilities[row]),
                    "true_class_probability": float(np.exp(-found.losses[row])),
                    "rank": int(found.ranks[row]) + 1,
                    "loss": float(found.losses[row]),
                    "blacklisted": int(withdrawn),
                }
            )
