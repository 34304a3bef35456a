"""Class weights from a file: CSV with the header ``class,weight``, or a JSON object.

The paper weights FastEval14k's classes by how common they are on social media; those weights are
not public, so a user brings their own.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from xception.errors import InputError, nearest

_SHOWN = 3  # class names that a message lists


def load_class_weights(path: str | Path, class_names: Sequence[str]) -> Tensor:
    """Reads one weight for each class, in the order of the model's classes.

    Args:
        path: A ``.json`` file ``{"cat": 2.0, "dog": 0.5}``, or a CSV file whose first line is
            ``class,weight``, UTF-8.
        class_names: The model's classes, all different.

    Returns:
        (C,) float64 ≥ 0, not all zero.

    Raises:
        InputError: The file is missing, is not such a file, names a class twice or one that the
            model does not have, lacks classes, or has a weight that is no number, negative, NaN
            or infinite, or only zeros. Or ``class_names`` holds a name twice.
    """
    path = Path(path)
    position = {name: class_id for class_id, name in enumerate(class_names)}
    if len(position) != len(class_names):
        twice = next(name for at, name in enumerate(class_names) if position[name] != at)
        raise InputError(f"the model has two classes named '{twice}'; weights cannot tell them")
    weights: dict[str, float] = {}
    for where, name, text in _entries(path):
        if name not in position:
            hint = nearest(name, list(class_names))
            raise InputError(f"{where}: the model has no class '{name}'{hint}")
        if name in weights:
            raise InputError(f"{where}: class '{name}' has a weight already; give it one")
        weights[name] = _weight(where, name, text)
    missing = [name for name in class_names if name not in weights]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InputError(
            f"{path} lacks the weight of {len(missing)} of {len(class_names)} classes: "
            f"{listed}{more}; a class that should not count gets the weight 0"
        )
    if not any(weights.values()):
        raise InputError(f"{path}: all weights are zero; at least one must be positive")
    return torch.tensor([weights[name] for name in class_names], dtype=torch.float64)


def _weight(where: str, name: str, value: object) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        weight = float(value)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: the weight of '{name}' is {value!r}, not a number") from None
    if not math.isfinite(weight) or weight < 0:
        raise InputError(
            f"{where}: the weight of '{name}' is {value}; weights must be finite and not negative"
        )
    return weight


def _entries(path: Path) -> Iterator[tuple[str, str, object]]:
    """Yields (place for messages, class name, weight as written)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file in UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot read the class weights {path}: {error.strerror}") from None
    return _from_json(path, text) if path.suffix.lower() == ".json" else _from_csv(path, text)


def _from_json(path: Path, text: str) -> Iterator[tuple[str, str, object]]:
    try:  # pairs instead of a dict, which would hide a name given twice
        pairs = json.loads(text, object_pairs_hook=lambda found: found)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not text.lstrip().startswith("{"):
        raise InputError(f'{path} must hold one JSON object such as {{"cat": 2.0, "dog": 0.5}}')
    for name, value in pairs:
        yield str(path), name, value


def _from_csv(path: Path, text: str) -> Iterator[tuple[str, str, object]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(rows, None)
        if header is None or [word.strip().lower() for word in header] != ["class", "weight"]:
            raise InputError(f"the first line of {path} must be class,weight")
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            if not row:
                continue
            if len(row) != 2:
                raise InputError(
                    f"{where} has {len(row)} columns instead of class,weight; "
                    'a class name with a comma needs quotes: "name, with comma"'
                )
            yield where, row[0], row[1]
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num} is not CSV: {error}") from None
