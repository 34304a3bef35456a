"""MAP@k as text, and its classes as a table: the best, the worst, all of them as CSV."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xception.data.csv_rows import csv_line
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
    by_image = result.reading == "image"
    unlabeled = "left out of the mean" if by_image else "every prediction on them is wrong"
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
        "denominator": denominator(result),
        "images": images,
        "predictions not annotated": _TREATMENT[result.unannotated].format(k=result.k),
    }
    if result.reading == "class":
        without = int((result.class_positives == 0).sum())
        total = len(result.class_positives)
        lines["classes"] = f"{total:,}, of them {without:,} in no image (left out of the mean)"
    return "\n".join(f"{name:<27}{text}" for name, text in lines.items())


def denominator(result: MapResult) -> str:
    """What an average precision is divided by, in the chosen reading."""
    if result.reading == "image":
        return f"the min(labels, {result.k}) largest weights among the image's labels"
    return f"all images of the class, in their top {result.k} or not"


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
    return best_and_worst(class_rows(result, class_names), count)


def best_and_worst(rows: Sequence[ClassRow], count: int) -> tuple[list[ClassRow], list[ClassRow]]:
    """The same of rows that are at hand; those without a precision are in neither list."""
    rows = [row for row in rows if row.average_precision is not None]
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
    rows = (ClassRow._fields, *class_rows(result, class_names))
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        file.writelines(map(csv_line, rows))


def read_class_table(path: str | Path) -> list[ClassRow]:
    """Reads what `write_class_table` wrote.

    Raises:
        InputError: It is no such file.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        if tuple(head) != ClassRow._fields:
            raise ValueError("its columns are others")
        return [_parsed(*row) for row in rows]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(
            f"{path} is not a table of classes ({' '.join(str(error).split())})"
        ) from None


def _parsed(
    class_id: str,
    name: str,
    weight: str,
    positives: str,
    predictions: str,
    hits: str,
    precision: str,
) -> ClassRow:
    return ClassRow(
        int(class_id),
        name,
        float(weight),
        int(positives),
        int(predictions),
        int(hits),
        float(precision) if precision else None,
    )


def _precision(row: ClassRow) -> float:
    assert row.average_precision is not None
    return row.average_precision
