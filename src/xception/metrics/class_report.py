"""MAP@k as text, and its classes as a table: the best, the worst, all of them as CSV."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xception.errors import InputError
from xception.metrics.map_result import MapResult
from xception.weights.atomic import replacing

_TREATMENT = {
    "masked": "masked: taken out before the top {k} were chosen",
    "negative": "negative: kept, and counted as wrong",
    "all-annotated": "none: every class counts as annotated in every image",
}


class ClassRow(NamedTuple):
    """One class of an evaluation.

    Attributes:
        class_id: Its number.
        name: Its name.
        weight: Its weight.
        positives: Images that have it.
        predictions: Images with it among their k best classes.
        hits: Those of them that have it.
        average_precision: In [0, 1]; None if no image has it.
    """

    class_id: int
    name: str
    weight: float
    positives: int
    predictions: int
    hits: int
    average_precision: float | None


def describe(result: MapResult) -> str:
    """What must stand beside the figure: reading, denominator, unlabeled images, treatment.

    Example:
        >>> import torch
        >>> from xception.metrics import weighted_mean_average_precision
        >>> print(describe(weighted_mean_average_precision(torch.eye(2), torch.eye(2), k=1)))
        MAP@1                      1.0000 (per image, equal class weights)
        denominator                the min(labels, 1) largest weights among the image's labels
        images                     2, of them 0 without a label (left out of the mean)
        predictions not annotated  none: every class counts as annotated in every image
    """
    weights = "class weights as given" if result.weighted else "equal class weights"
    if result.reading == "image":
        denominator = f"the min(labels, {result.k}) largest weights among the image's labels"
        unlabeled = "left out of the mean"
    else:
        denominator = f"all images of the class, in their top {result.k} or not"
        unlabeled = "every prediction on them is wrong"
    value = "undefined" if math.isnan(result.value) else f"{result.value:.4f}"
    images = (
        f"{result.num_images:,}, of them {result.num_unlabeled:,} without a label ({unlabeled})"
    )
    if result.num_weightless and result.reading == "image":
        images += f", {result.num_weightless:,} with labels of weight 0 only (left out)"
    if result.num_duplicates:
        images += f"; {result.num_duplicates:,} repeated images (padding) dropped"
    lines = {
        f"MAP@{result.k}": f"{value} (per {result.reading}, {weights})",
        "denominator": denominator,
        "images": images,
        "predictions not annotated": _TREATMENT[result.unannotated].format(k=result.k),
    }
    if result.reading == "class":
        without = int((result.class_positives == 0).sum())
        total = len(result.class_positives)
        lines["classes"] = f"{total:,}, of them {without:,} in no image (left out of the mean)"
    return "\n".join(f"{name:<27}{text}" for name, text in lines.items())


def class_rows(result: MapResult, class_names: Sequence[str] | None = None) -> list[ClassRow]:
    """One row per class, in the order of the classes; names are the numbers if there are none."""
    precisions = result.class_average_precision.tolist()
    names = list(map(str, range(len(precisions)))) if class_names is None else class_names
    columns = zip(
        range(len(precisions)),
        names,
        result.class_weights.tolist(),
        result.class_positives.tolist(),
        result.class_predictions.tolist(),
        result.class_hits.tolist(),
        [None if math.isnan(precision) else precision for precision in precisions],
        strict=True,
    )
    return [ClassRow(*row) for row in columns]


def ranked_classes(
    result: MapResult, class_names: Sequence[str] | None = None, count: int = 10
) -> tuple[list[ClassRow], list[ClassRow]]:
    """Returns the best and the worst classes by average precision, of those that some image has.

    Of equal classes the one with more images comes first, then the lower number. With fewer than
    2 × count classes, the worst are those that are not among the best.

    Args:
        result: An evaluation.
        class_names: C names.
        count: How many of each.
    """
    rows = [row for row in class_rows(result, class_names) if row.average_precision is not None]
    best = sorted(rows, key=lambda row: (-_precision(row), -row.positives, row.class_id))[:count]
    chosen = {row.class_id for row in best}
    rest = [row for row in rows if row.class_id not in chosen]
    worst = sorted(rest, key=lambda row: (_precision(row), -row.positives, row.class_id))[:count]
    return best, worst


def write_class_table(
    result: MapResult,
    path: str | Path,
    class_names: Sequence[str] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes all classes as CSV: the fields of `ClassRow`; an undefined precision is empty.

    Args:
        result: An evaluation.
        path: The file, complete or not there at all.
        class_names: C names.
        overwrite: Whether a file that is there is replaced.

    Raises:
        InputError: The file is there and ``overwrite`` is false, or its folder is not.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} is there already; choose another name or allow to overwrite it")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} for {path.name}; create it first")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(ClassRow._fields)
    writer.writerows(class_rows(result, class_names))
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def _precision(row: ClassRow) -> float:
    assert row.average_precision is not None
    return row.average_precision
