"""What a run left behind, read for its report: recipe, metrics, summary, evaluation, pictures."""

import base64
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from xception.errors import InputError
from xception.inference.evaluation import Evaluation, read_evaluation
from xception.metrics import read_class_table
from xception.metrics.class_report import ClassRow
from xception.training.metrics_file import read_rows
from xception.training.run_directory import RunDirectory


@dataclass(frozen=True)
class Example:
    """An image of the held-out set that is shown.

    Attributes:
        name: The image's name in its source.
        label: The true class.
        prediction: The most probable class.
        probability: Of the prediction, in [0, 1].
        label_probability: Of the true class, in [0, 1].
        picture: ``data:`` address of the picture.
        side: Its height and width, pixels.
    """

    name: str
    label: str
    prediction: str
    probability: float
    label_probability: float
    picture: str
    side: int


@dataclass(frozen=True)
class RunRecord:
    """All that a run left behind; whatever is missing is left out of the page.

    Attributes:
        name: What the page is called.
        recipe: The recipe's text, as stored.
        keys: The recipe's keys, nested.
        metrics: The rows of ``metrics.csv``.
        summary: ``summary.json``.
        evaluation: Of the final weights on the held-out images, blacklisted ones included.
        examples: Mistakes, the most confident first, then images that are right.
        precisions: A row for each class, where the figure is MAP@k.
    """

    name: str
    recipe: str = ""
    keys: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, float | None]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    examples: list[Example] = field(default_factory=list)
    precisions: list[ClassRow] = field(default_factory=list)


def read_record(directory: RunDirectory, stored: Path) -> RunRecord:
    """Collects the files of a run.

    Raises:
        InputError: One of them can't be understood.
    """
    recipe = _read(directory.recipe)
    try:
        keys = yaml.safe_load(recipe) or {}
        summary = json.loads(_read(directory.summary) or "{}")
        metrics = read_rows(directory.metrics) if directory.metrics.exists() else []
    except (yaml.YAMLError, ValueError) as error:
        detail = " ".join(str(error).split())
        raise InputError(f"a file of the run {directory.path} is damaged: {detail}") from None
    found, examples = _read_examples(stored) if stored.exists() else (None, [])
    return RunRecord(
        name=str(summary.get("recipe") or directory.path.resolve().name),
        recipe=recipe,
        keys=keys if isinstance(keys, dict) else {},
        metrics=metrics,
        summary=summary if isinstance(summary, dict) else {},
        evaluation=found,
        examples=examples,
        precisions=read_class_table(directory.classes) if directory.classes.exists() else [],
    )


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _read_examples(stored: Path) -> tuple[Evaluation, list[Example]]:
    found, arrays = read_evaluation(stored)
    if "example_rows" not in arrays:
        return found, []
    return found, [
        Example(
            name=str(name),
            label=found.class_names[found.labels[row]],
            prediction=found.class_names[found.predictions[row]],
            probability=float(found.probabilities[row]),
            label_probability=float(np.exp(-found.losses[row])),
            picture=_data_address(picture),
            side=picture.shape[0],
        )
        for row, name, picture in zip(
            arrays["example_rows"], arrays["example_names"], arrays["example_images"], strict=True
        )
    ]


def _data_address(picture: NDArray[np.uint8]) -> str:
    """A picture (T, T, 3) as a ``data:`` address: PNG when small, else JPEG."""
    from PIL import Image

    small = picture.shape[0] <= 64
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "PNG" if small else "JPEG", quality=85)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(encoded.getvalue()).decode()}"
