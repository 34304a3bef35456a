"""``xception evaluate MODEL DATA``: top-1, top-5 and loss, or MAP@k; one model, one crop."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from xception.cli.engine_choice import add_engine_options
from xception.cli.parsing import new_parser, parse
from xception.cli.preprocessing_options import add_preprocessing_options, with_preprocessing
from xception.cli.weights_option import add_weights_option
from xception.errors import count_of

if TYPE_CHECKING:
    from pathlib import Path

    from jsonargparse import Namespace
    from torch import nn

    from xception.data.sources import AnySource
    from xception.inference.evaluation import Evaluation

SUMMARY = "top-1, top-5 and loss of a model on a data set"

DESCRIPTION = """\
Evaluates a trained model on labelled images: single model, single crop, each image once. Images
that can't be read are listed and in no figure; the exit code is then 1. ImageNet's blacklist is
left out where it is at hand, as in the paper, and the figures on all images are given too.
Images with several labels are evaluated by MAP@k, with class weights if given."""

CLASSES_SHOWN = 10  # the weakest, in the table
SKIPPED_SHOWN = 20


def main(arguments: Sequence[str]) -> int:
    """Runs the verb; returns 0, or 1 when some image could not be read."""
    options = _parse(arguments)

    from pathlib import Path

    from rich.console import Console

    from xception.inference.tables import require_table

    output = Path(options.output) if options.output else None
    if output:
        require_table(output, overwrite=options.overwrite)

    from xception.cli.engine_accuracy import engine_figures
    from xception.cli.engine_choice import with_engine
    from xception.cli.labelled_data import open_labelled_data
    from xception.cli.map_evaluation import chosen_k, evaluate_by_map, refuse_other_options
    from xception.cli.progress import progress_bar
    from xception.data.sources import require_one_label
    from xception.export.opening import open_network
    from xception.inference.devices import choose_device
    from xception.inference.scoring import evaluate

    plain = with_preprocessing(
        open_network(options.model, weights=options.weights, threads=options.threads), options
    )
    opened = open_labelled_data(options.data, options.split, options.data_root)
    labelled = opened.source
    k = chosen_k(options.metric, labelled, opened.map_k)
    refuse_other_options(options, k)
    for sentence in [*opened.notes, *_trained_on(plain.path, labelled, options.split)]:
        print(f"xception: {sentence}", file=sys.stderr)
    if k is not None:
        return evaluate_by_map(options, plain, labelled, k)
    source = require_one_label(labelled)
    loaded = with_engine(plain, options, images=len(source))
    started, done = time.perf_counter(), 0

    def measure(model: "nn.Module", progress: Callable[[int, int], None]) -> "Evaluation":
        return evaluate(
            model,
            source,
            loaded.preprocessing,
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
    if output:
        from xception.cli.evaluation_output import write_images

        write_images(found, source, output)
    facts: dict[str, Any] = {
        "model": str(loaded.path),
        "data": options.data,
        "split": options.split,
        "weights": options.weights,
        "device": str(choose_device(options.device)),
        "seconds": round(seconds, 3),
        "images_per_second": round(len(source) / max(seconds, 1e-9), 2),
        **opened.facts,
    }
    facts |= engine_figures(
        plain,
        loaded.model,
        lambda model: measure(model, lambda *_: None).without_blacklisted().top1,
        figure="top1",
        found=found.without_blacklisted().top1,
        images=found.without_blacklisted().num_images,
        data=f"{options.data}, {options.split}",
        batch_size=options.batch_size,
    )
    if options.json:
        print(json.dumps(facts | figures(found), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        from xception.cli.evaluation_output import show

        show(found, facts)
    _report_skipped(found)
    return 1 if found.skipped else 0


def _trained_on(model: "Path", labelled: "AnySource", split: str) -> list[str]:
    """Says if images to be evaluated are ones that the model was trained on."""
    from xception.data.recorded_images import trained_on
    from xception.data.sources import file_names
    from xception.recipes.run_list import run_list_of

    if split == "train" or file_names(labelled) is None:
        return []
    record = run_list_of(model)
    if record is None:
        return []
    known = trained_on(record, [labelled.describe(index) for index in range(len(labelled))])
    if not known:
        return []
    return [
        f"{len(known):,} of the {count_of(len(labelled), 'image')} were trained on by {model} "
        f"(the first: {known[0]}), which makes the accuracy too good"
    ]


def figures(found: "Evaluation") -> dict[str, Any]:
    """All figures as JSON primitives; those with blacklisted images apart."""
    kept = found.without_blacklisted()
    told: dict[str, Any] = kept.figures()
    if found.blacklisted is not None:
        told["with_blacklisted"] = found.figures()
    told["skipped_images"] = [reason for _, reason in found.skipped]
    told["classes"] = [
        {"name": name, "images": int(images), "top1": None if images == 0 else float(top1)}
        for name, images, top1 in zip(
            kept.class_names, kept.images_per_class, kept.accuracy_per_class, strict=True
        )
    ]
    return told


def _report_skipped(found: "Evaluation") -> None:
    if not found.skipped:
        return
    whole = len(found.skipped) + found.num_images
    print(
        f"xception: {len(found.skipped):,} of {count_of(whole, 'image')} could not be read "
        "and are in no figure:",
        file=sys.stderr,
    )
    for _, reason in found.skipped[:SKIPPED_SHOWN]:
        print(f"  {reason}", file=sys.stderr)
    if len(found.skipped) > SKIPPED_SHOWN:
        print(f"  and {len(found.skipped) - SKIPPED_SHOWN:,} more", file=sys.stderr)


def _parse(arguments: Sequence[str]) -> "Namespace":
    parser = new_parser("evaluate", DESCRIPTION)
    add = parser.add_argument
    add("model", type=str, help="Run directory, checkpoint, weights file or exported file.")
    add(
        "data",
        type=str,
        help="Data set (digits, imagenet, cifar10, …), folder, label table, recipe, run directory.",
    )
    add(
        "--metric",
        type=str | None,
        help="accuracy (top-1, top-5, loss) or map@K, such as map@100. Default: accuracy for "
        "images with one label; for images with several map@100, or what their recipe or run has.",
    )
    add("--class-weights", type=str, help="map@K: file of class weights, CSV class,weight or JSON.")
    add(
        "--reading",
        type=Literal["image", "class"],
        default="image",
        help="map@K: average precision averaged per image or per class.",
    )
    add(
        "--unannotated",
        type=Literal["masked", "negative"],
        default="masked",
        help="map@K: predictions outside an image's annotated classes are left out, or wrong.",
    )
    add(
        "--annotated-classes",
        type=str,
        help="map@K: file with a class name to a line. Only these were annotated in the images, as "
        "FastEval14k's 6,000 of 17,000. Default: what the data say, else all.",
    )
    add("--class-table", type=str, help="map@K: CSV file for a row for each class.")
    add_weights_option(parser)
    add("--batch-size", type=int, default=32, help="Images per forward pass.")
    add(
        "--num-workers",
        type=int | None,
        help="Processes that decode images; by default none on the CPU, up to 8 for a GPU.",
    )
    add("--device", type=Literal["auto", "cpu", "cuda"], default="auto", help="Where to compute.")
    add_engine_options(parser, absent="Default: the network as it is.")
    add_preprocessing_options(parser, "the model's")
    add("--data-root", type=str, help="Where a named data set lies, or is downloaded to.")
    add(
        "--split",
        type=Literal["evaluation", "train", "new"],
        default="evaluation",
        help="Which part of the data; new: images that came after the run DATA began.",
    )
    add("--json", action="store_true", help="Print the figures as JSON.")
    add("--output", type=str, help="File (.csv, .jsonl or .parquet) for a row for each image.")
    add("--overwrite", action="store_true", help="Replace the output file if it exists.")
    return parse(parser, arguments)
