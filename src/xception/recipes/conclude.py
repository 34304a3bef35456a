"""What follows training: the weights file, the evaluation, the summary, the report."""

import hashlib
import sys
import time
from contextlib import suppress
from typing import Any

from xception.data.image_record import ImageRecord
from xception.data.sources import require_one_label
from xception.errors import InputError
from xception.home import expand_home
from xception.inference import (
    Evaluation,
    MapEvaluation,
    evaluate,
    evaluate_map,
    store_evaluation,
)
from xception.metrics import write_class_table
from xception.recipes.load import Recipe
from xception.training.environment import commit, hardware, peak_memory_bytes, versions
from xception.training.fit import Finished
from xception.training.report import write_report
from xception.training.run_directory import RunDirectory
from xception.training.validation import MeanAveragePrecision
from xception.weights.files import save_model
from xception.weights.reading import locate


def conclude(recipe: Recipe, trained: Finished, directory: RunDirectory, started: float) -> None:
    """Writes ``model.safetensors``, evaluates it, writes ``summary.json`` and ``report.html``.

    Args:
        recipe: What was run.
        trained: The finished training; its model holds the averaged weights.
        directory: Where the files go.
        started: When this process began, seconds since the epoch.
    """
    run = trained.run
    model, data = run.classifier.model, run.data
    save_model(
        model,
        directory.weights,
        class_names=list(data.class_names),
        preprocessing=data.preprocessing,
        provenance={
            "recipe": recipe.name,
            "step": trained.details["best_step"] if kept_best(trained) else trained.steps,
            "weights": "raw" if run.polyak_decay is None else "polyak",
            "commit": commit(),
            **started_from(recipe),
        },
        multi_label=data.multi_label,
    )
    evaluation: Evaluation | MapEvaluation
    if isinstance(run.classifier.validation, MeanAveragePrecision):
        metric = run.classifier.validation.map
        evaluation = evaluate_map(
            model,
            data.evaluation_source,
            data.preprocessing,
            k=metric.k,
            class_weights=metric.class_weights,
            reading=metric.reading,
            unannotated=metric.unannotated,
            class_names=data.class_names,
            batch_size=data.evaluation_batch_size,
        )
        write_class_table(
            evaluation.result, directory.classes, evaluation.class_names, overwrite=True
        )
    else:
        held_out = require_one_label(data.evaluation_source)
        evaluation = evaluate(
            model,
            held_out,
            data.preprocessing,
            class_names=data.class_names,
            batch_size=data.evaluation_batch_size,
        )
        store_evaluation(directory.evaluation, evaluation, held_out, data.preprocessing)
    summary = summarize(recipe, trained, evaluation, started)
    directory.write_summary(summary)
    write_report(directory.path)


def kept_best(trained: Finished) -> bool:
    """Whether the weights are those of the best validation, not of the last step."""
    return trained.details.get("kept") == "best"


def started_from(recipe: Recipe) -> dict[str, Any]:
    """What the weights file says of the weights that training started from.

    Returns:
        Nothing for random weights, else ``started_from`` with ``weights``, the text of
        ``model.weights``, and with ``sha256`` of that file, where it is one on this machine (of a
        run directory: its weights).
    """
    source = recipe.keys["model"]["weights"]
    if not source:
        return {}
    told = {"weights": source}
    with suppress(InputError):  # what was there when the run began may be gone by now
        if expand_home(source).exists():
            with locate(source).open("rb") as file:
                told["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return {"started_from": told}


def _twins(record: ImageRecord | None) -> dict[str, int]:
    """How many held-out images are copies of training images, if any."""
    twins = record.twins() if record is not None else []
    return {"held_out_copies_of_training_images": len(twins)} if twins else {}


def summarize(
    recipe: Recipe, trained: Finished, found: Evaluation | MapEvaluation, started: float
) -> dict[str, Any]:
    """The content of ``summary.json``."""
    run = trained.run
    samples = trained.steps * run.data.batch_size
    seconds = trained.seconds
    whole = found if isinstance(found, Evaluation) else None
    kept = found if whole is None else whole.without_blacklisted()
    return {
        "recipe": recipe.name,
        "model": recipe.keys["model"]["name"],
        "architecture": getattr(run.classifier.model, "architecture", None),
        "parameters": sum(p.numel() for p in run.classifier.model.parameters()),
        "evaluation": kept.figures(),
        "evaluation_with_blacklisted": (
            None if whole is None or whole.blacklisted is None else whole.figures()
        ),
        "training": {
            "epochs": trained.epochs,
            "steps": trained.steps,
            "samples": samples,
            "train_images": len(run.data.train_source),
            "seconds": round(seconds, 2),
            "images_per_second": round(samples / max(seconds, 1e-9), 2),
            "unreadable": trained.unreadable,
            **_twins(run.data.record),
            **trained.details,
        },
        "seconds_of_this_process": round(time.time() - started, 2),
        "peak_memory_bytes": peak_memory_bytes(),
        "hardware": hardware(),
        "versions": versions(),
        "commit": commit(),
        "command": " ".join(["xception", *sys.argv[1:]]),
    }
