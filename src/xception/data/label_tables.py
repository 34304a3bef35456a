"""Tables of labelled images: CSV, JSON lines or Parquet, one row to an image.

Columns:

- ``image``: the image's path, relative to the table's folder; in Parquet also its bytes.
- ``labels``: the classes that it has, as names or ids from 0. In CSV separated by ``|``.
- ``weights`` (optional): one number ≥ 0 for each label, a factor on its term in the loss.
- ``absent`` (optional): classes that it is known not to have. Where the column exists, all classes
  in neither list are unknown, and masked in loss and metric (Open Images).
"""

import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xception.data.csv_rows import csv_rows
from xception.data.encoded_images import EncodedImages, ImageFiles
from xception.data.label_checks import (
    OPTIONAL,
    REQUIRED,
    ClassIds,
    checked_labels,
    require_columns,
    require_once,
)
from xception.data.parquet_tables import read_parquet_table
from xception.data.targets import Ragged, SparseLabels
from xception.errors import InputError, nearest

SUFFIXES = (".csv", ".jsonl", ".parquet")
SEPARATOR = "|"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class LabelTable:
    """A table that has been read.

    Attributes:
        images: The bytes of each image.
        labels: The labels of each.
    """

    images: EncodedImages
    labels: SparseLabels


def read_label_table(path: Path, class_names: Sequence[str]) -> LabelTable:
    """Reads a table; the labels are checked, the images not yet opened.

    Args:
        path: Ends in .csv, .jsonl or .parquet.
        class_names: The classes, in the order of their ids.

    Raises:
        InputError: No such file or column, a row that is none, or labels that
            `xception.data.label_checks.checked_labels` refuses.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"{path} has the ending '{path.suffix}'{nearest(path.suffix, list(SUFFIXES))}; "
            f"a label table is one of {', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise InputError(f"there is no label table {path}; check the path")
    if path.suffix == ".parquet":
        images, present, weights, absent = read_parquet_table(path, class_names)
        first_row = 0
    else:
        rows = _csv_rows(path) if path.suffix == ".csv" else _json_rows(path)
        columns = RowColumns(ClassIds(class_names), words=path.suffix == ".csv")
        for where, row in rows:
            columns.append(row, where)
        require_once(columns.paths, path, first_row=1)
        images = ImageFiles(path.parent, _with_slashes(path.parent, columns.paths))
        present, weights, absent = columns.lists()
        first_row = 1
    if not len(images):
        raise InputError(f"{path} has no rows; write one to an image")
    labels = checked_labels(
        present,
        weights,
        absent,
        num_classes=len(class_names),
        where=lambda row: f"{path} row {row + first_row} ({images.describe(row)})",
    )
    return LabelTable(images, labels)


class RowColumns:
    """Grows the columns row by row, without a Python object for each label.

    Args:
        classes: Turns labels into ids.
        words: Whether cells are texts with a separator, as in CSV.
    """

    def __init__(self, classes: ClassIds, *, words: bool) -> None:
        self.classes, self.words = classes, words
        self.paths: list[str] = []
        self._ids = {"labels": array("i"), "absent": array("i")}
        self._ends = {"labels": array("q", [0]), "absent": array("q", [0])}
        self._weights = array("f")
        self._seen: set[str] = set()

    def append(self, row: Row, where: str) -> None:
        """Adds a row.

        Args:
            row: Cells by the names of their columns.
            where: Names the row in a message.

        Raises:
            InputError: Its cells are not what they should be.
        """
        image = row.get("image")
        if not isinstance(image, str) or not _is_path(image):
            raise InputError(f"{where}: {image!r} is no path of an image")
        self.paths.append(image)
        if len(self.paths) == 1:
            self._seen = {name for name in OPTIONAL if row.get(name) is not None}
        for name, ids in self._ids.items():
            for label in self._cell(row, name, where):
                convert = self.classes.of_word if self.words else self.classes.of
                ids.append(convert(label, where))
            self._ends[name].append(len(ids))
        for name in OPTIONAL:
            if (row.get(name) is not None) != (name in self._seen):
                raise InputError(f"{where}: give '{name}' in all rows or in none")
        if "weights" in self._seen:
            self._append_weights(self._cell(row, "weights", where), where)

    def _append_weights(self, cells: Sequence[Any], where: str) -> None:
        count = self._ends["labels"][-1] - self._ends["labels"][-2]
        if len(cells) != count:
            raise InputError(
                f"{where}: there are {len(cells)} weights for {count} labels; give one for each"
            )
        for cell in cells:
            try:
                self._weights.append(float(cell))
            except (TypeError, ValueError):
                raise InputError(f"{where}: the weight {cell!r} is not a number") from None

    def _cell(self, row: Row, name: str, where: str) -> Sequence[Any]:
        cell = row.get(name)
        if self.words:
            return [word.strip() for word in cell.split(SEPARATOR)] if cell else []
        if cell is None and name in OPTIONAL:
            return []
        if not isinstance(cell, list):
            raise InputError(f"{where}: '{name}' must be a list, not {cell!r}")
        return cell

    def lists(self) -> tuple[Ragged, np.ndarray | None, Ragged | None]:
        """Present classes, weights, absent classes."""
        present, absent = (
            Ragged(np.array(self._ends[name]), np.array(self._ids[name])) for name in self._ids
        )
        return (
            present,
            np.array(self._weights) if "weights" in self._seen else None,
            absent if "absent" in self._seen else None,
        )


def _is_path(text: str) -> bool:
    """Whether a file can have that name: it has no null byte and no half of a character."""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _csv_rows(path: Path) -> Iterator[tuple[str, Row]]:
    for where, heading, row in csv_rows(path, (*REQUIRED, *OPTIONAL)):
        if row:
            yield where, row
        else:
            require_columns(path, heading)


def _with_slashes(folder: Path, paths: list[str]) -> list[str]:
    """Windows' paths as this system writes them, where that is what finds the first of them."""
    first = next((path for path in paths if "\\" in path), None)
    if first is None or (folder / first).exists():  # a name may hold a backslash
        return paths
    if not (folder / first.replace("\\", "/")).exists():
        return paths
    return [path.replace("\\", "/") for path in paths]


def _json_rows(path: Path) -> Iterator[tuple[str, Row]]:
    with path.open(encoding="utf-8-sig") as file:
        begun = False
        try:
            for number, line in enumerate(file, start=1):
                where = f"{path} line {number}"
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{where} is not JSON: {error}") from None
                if not isinstance(row, dict):
                    raise InputError(
                        f'{where} must be an object like {{"image": …, "labels": […]}}'
                    )
                if not begun:
                    require_columns(path, list(row))
                    begun = True
                yield where, row
        except UnicodeDecodeError:
            raise InputError(f"{path} is not a text file in UTF-8") from None
