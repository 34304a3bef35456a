"""``xception predict MODEL PATH…``: class names and probabilities of images."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from xception.cli.engine_choice import add_engine_options
from xception.cli.parsing import new_parser, parse
from xception.cli.preprocessing_options import add_preprocessing_options, with_preprocessing
from xception.cli.weights_option import add_weights_option
from xception.errors import count_of

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from xception.inference.classification import Prediction

SUMMARY = "classify images"

DESCRIPTION = """\
Classifies images with a trained model. It needs no training data. Images that can't be read are
listed with the reason; the exit code is then 1. Into a pipe go tab-separated lines."""


def main(arguments: list[str]) -> int:
    """Runs the verb; returns 0, or 1 when some image could not be read."""
    options = _parse(arguments)

    from pathlib import Path

    from xception.inference.inputs import require_images
    from xception.inference.tables import require_table

    output = Path(options.output) if options.output else None
    if output:
        require_table(output, overwrite=options.overwrite)
    total = require_images(options.paths)

    from xception.cli.engine_choice import with_engine
    from xception.cli.prediction_output import show_predictions, write_predictions
    from xception.export.opening import open_network
    from xception.inference.classification import names_of
    from xception.inference.prediction import predict

    loaded = open_network(options.model, weights=options.weights, threads=options.threads)
    loaded = with_engine(
        with_preprocessing(loaded, options),
        options,
        images=total,
        default="torch",
        own_images=options.paths,
    )
    counted = _Counted(
        predict(
            loaded,
            options.paths,
            top_k=options.top_k,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            device=options.device,
        )
    )
    if output:
        k = min(options.top_k, len(names_of(loaded)))
        write_predictions(counted, output, k=k, total=total)
        print(f"{count_of(counted.images - counted.failed, 'image')} classified: {output}")
    else:
        show_predictions(counted, total=total)
    if counted.failed:
        failed = f"{counted.failed:,} of {count_of(counted.images, 'image')}"
        print(f"xception: {failed} could not be read", file=sys.stderr)
    return 1 if counted.failed else 0


def _parse(arguments: list[str]) -> "Namespace":
    parser = new_parser("predict", DESCRIPTION)
    add = parser.add_argument
    add("model", type=str, help="Run directory, checkpoint, weights file or exported file.")
    add("paths", type=str, nargs="+", help="Image files, folders of any depth, quoted globs.")
    add("--top-k", type=int, default=5, help="How many classes to name for each image.")
    add("--output", type=str, help="File (.csv, .jsonl or .parquet) to write instead of a table.")
    add("--overwrite", action="store_true", help="Replace the output file if it exists.")
    add("--batch-size", type=int, default=32, help="Images per forward pass.")
    add(
        "--num-workers",
        type=int | None,
        help="Processes that decode images; by default none on the CPU, up to 8 for a GPU.",
    )
    add("--device", type=Literal["auto", "cpu", "cuda"], default="auto", help="Where to compute.")
    add_engine_options(parser, absent="Default: torch, which is the only one on a GPU.")
    add_preprocessing_options(parser, "the model's")
    add_weights_option(parser)
    return parse(parser, arguments)


class _Counted:
    """Passes predictions on and counts them."""

    def __init__(self, predictions: "Iterator[Prediction]") -> None:
        self.predictions, self.images, self.failed = predictions, 0, 0

    def __iter__(self) -> "Iterator[Prediction]":
        for prediction in self.predictions:
            self.images += 1
            self.failed += prediction.error is not None
            yield prediction
