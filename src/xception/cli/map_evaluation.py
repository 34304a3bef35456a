"""``xception evaluate … --metric map@K``: MAP@K on the terminal, as JSON; a CSV of the classes."""

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xception.data.class_lists import read_class_list
from xception.data.sources import AnySource, is_multi_label
from xception.errors import InputError

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from torch import nn

    from xception.inference.map_scoring import MapEvaluation
    from xception.metrics.class_report import ClassRow
    from xception.weights.files import LoadedModel

CLASSES_SHOWN = 5  # the best, and the worst
SKIPPED_SHOWN = 20
_PAPERS_K = 100


def chosen_k(metric: str | None, source: AnySource, recipes_k: int | None = None) -> int | None:
    """The k of ``--metric map@K``; None for accuracy.

    Without ``--metric``, images with several labels get their recipe's k, or the paper's 100, or as
    many as there are classes.

    Raises:
        InputError: No such metric, or accuracy for images with several labels.
    """
    if metric is None:
        return (
            min(recipes_k or _PAPERS_K, len(source.class_names)) if is_multi_label(source) else None
        )
    if metric == "accuracy":
        return None
    found = re.fullmatch(r"map@([1-9]\d*)", metric.lower())
    if not found:
        raise InputError(f"--metric {metric}: there are accuracy and map@K, such as map@100")
    return int(found[1])


def refuse_other_options(options: "Namespace", k: int | None) -> None:
    """Raises where an option of one metric was given with the other.

    Raises:
        InputError: It was; the message says what to use.
    """
    if k is None and (options.class_weights or options.class_table or options.annotated_classes):
        raise InputError(
            "--class-weights, --class-table and --annotated-classes belong to map@K; add --metric "
            "map@100, for instance"
        )
    if k is not None and options.output:
        raise InputError(
            "--output writes a row for each image's accuracy; with map@K give --class-table "
            "FILE.csv for a row for each class"
        )


def evaluate_by_map(options: "Namespace", plain: "LoadedModel", source: AnySource, k: int) -> int:
    """Evaluates and prints; returns 0, or 1 when some image could not be read.

    Raises:
        InputError: The class weights are no such file, or k is above the number of classes.
    """
    from rich.console import Console

    from xception.cli.engine_accuracy import engine_figures
    from xception.cli.engine_choice import with_engine
    from xception.cli.progress import progress_bar
    from xception.inference.destinations import require_writable
    from xception.inference.devices import choose_device
    from xception.inference.map_scoring import evaluate_map
    from xception.metrics import load_class_weights, write_class_table

    names = list(plain.class_names or source.class_names)
    table = Path(options.class_table) if options.class_table else None
    if table:
        require_writable(table, overwrite=options.overwrite)
    weights = load_class_weights(options.class_weights, names) if options.class_weights else None
    annotated = None
    if options.annotated_classes:
        annotated = read_class_list(Path(options.annotated_classes))
    loaded = with_engine(plain, options, images=len(source))
    started, done = time.perf_counter(), 0

    def measure(model: "nn.Module", progress: Callable[[int, int], None]) -> "MapEvaluation":
        return evaluate_map(
            model,
            source,
            loaded.preprocessing,
            k=k,
            class_weights=weights,
            reading=options.reading,
            unannotated=options.unannotated,
            annotated_classes=annotated,
            class_names=loaded.class_names,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            device=options.device,
            progress=progress,
        )

    with progress_bar(Console(stderr=True), len(source)) as advance:

        def note(images: int, _: int) -> None:
            nonlocal done
            advance(images - done)
            done = images

        found = measure(loaded.model, note)
    seconds = time.perf_counter() - started
    if table:
        write_class_table(found.result, table, found.class_names, overwrite=options.overwrite)
    facts = {
        "model": str(loaded.path),
        "data": options.data,
        "split": options.split,
        "weights": options.weights,
        "device": str(choose_device(options.device)),
        "seconds": round(seconds, 3),
        "images_per_second": round(len(source) / max(seconds, 1e-9), 2),
    }
    facts |= engine_figures(
        plain,
        loaded.model,
        lambda model: measure(model, lambda *_: None).result.value,
        figure=f"map@{k}",
        found=found.result.value,
        images=found.result.num_images,
        data=f"{options.data}, {options.split}",
        batch_size=options.batch_size,
    )
    if options.json:
        told = facts | found.figures() | {"skipped_images": [text for _, text in found.skipped]}
        print(json.dumps(told, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        _show(found, facts)
    for _, reason in found.skipped[:SKIPPED_SHOWN]:
        print(f"xception: not read, in no figure: {reason}", file=sys.stderr)
    if len(found.skipped) > SKIPPED_SHOWN:
        print(f"xception: and {len(found.skipped) - SKIPPED_SHOWN:,} more", file=sys.stderr)
    return 1 if found.skipped else 0


def _show(found: "MapEvaluation", facts: dict[str, Any]) -> None:
    from rich.console import Console

    from xception.metrics import describe, ranked_classes

    print(f"{facts['data']}, {facts['split']}\n{describe(found.result)}")
    print(f"{'unreadable, left out':<27}{len(found.skipped):,}")
    print(f"{'images per second':<27}{facts['images_per_second']:,.1f}")
    if (name := f"float32_map@{found.result.k}") in facts:
        print(f"{'MAP in float32':<27}{facts[name]:.4f}")
    best, worst = ranked_classes(found.result, found.class_names, CLASSES_SHOWN)
    console = Console()
    for title, rows in (("the best classes", best), ("the worst classes", worst)):
        if rows:
            console.print()
            console.print(_class_table(title, rows))


def _class_table(title: str, rows: Sequence["ClassRow"]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title)
    for heading in ("average precision", "weight", "images", "predicted", "hits"):
        table.add_column(heading, justify="right")
    for row in rows:
        numbers = (row.positives, row.predictions, row.hits)
        table.add_row(
            Text(row.name),
            f"{row.average_precision:.4f}",
            f"{row.weight:g}",
            *(f"{number:,}" for number in numbers),
        )
    return table
