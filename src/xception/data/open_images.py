"""Open Images' image-level labels: the public stand-in for JFT, as its makers distribute it.

A folder with ``class-descriptions.csv`` (``oidv7-class-descriptions.csv`` and the like too),
``train-annotations-human-imagelabels.csv`` and ``validation-…`` of the same layout
(``ImageID,Source,LabelName,Confidence``), and the images in ``train/`` and ``validation/`` as
``<ImageID>.jpg``. People verified each label: confidence 1 says that the image has the class, 0
that it has not; every other class is unknown, and masked in loss and metric. With
``classes-trainable.txt`` (one ``/m/…`` to a line) only these classes are used.
"""

import csv
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from xception.data.class_lists import require_class_names
from xception.data.decoding import read_encoded
from xception.data.file_sizes import size_of
from xception.data.label_checks import checked_labels
from xception.data.multi_label import MultiLabelImages, Split
from xception.data.targets import Ragged
from xception.errors import InputError

LABELS = {
    "train": "train-annotations-human-imagelabels.csv",
    "evaluation": "validation-annotations-human-imagelabels.csv",
}
IMAGES = {"train": "train", "evaluation": "validation"}
_HEADER = ["ImageID", "Source", "LabelName", "Confidence"]


class HexNamedImages:
    """Images called by a number of 16 hexadecimal digits: 8 bytes of memory each.

    Args:
        folder: Where they lie.
        numbers: (n,) uint64.
    """

    def __init__(self, folder: Path, numbers: np.ndarray) -> None:
        self.folder, self.numbers = folder, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, index: int) -> bytes:
        """The bytes of the file."""
        return read_encoded(self.describe(index))

    def key(self, index: int) -> str:
        """The image's number."""
        return f"{int(self.numbers[index]):016x}"

    def size(self, index: int) -> int:
        """Of the file; -1 where there is none."""
        return size_of(self.describe(index))

    def describe(self, index: int) -> str:
        """The file's path."""
        return f"{self.folder}/{self.key(index)}.jpg"


def open_images(root: str, split: Split) -> MultiLabelImages:
    """Opens one split; images are those that have a verified label.

    Args:
        root: The folder.
        split: Open Images' train or validation set.

    Raises:
        InputError: A file is missing, or is not of that layout.
    """
    folder = Path(root)
    mids, names = _classes(folder)
    trainable = folder / "classes-trainable.txt"
    if trainable.is_file():
        wanted = set(trainable.read_text(encoding="utf-8").split())
        kept = [place for place, mid in enumerate(mids) if mid in wanted]
        mids, names = [mids[place] for place in kept], [names[place] for place in kept]
    require_class_names(names, str(trainable if trainable.is_file() else folder))
    numbers, classes, present = _labels(
        folder / LABELS[split], mids, complete=not trainable.is_file()
    )
    if not len(numbers):
        raise InputError(f"{folder / LABELS[split]} has no label of the wanted classes")
    images, rows = np.unique(numbers, return_inverse=True)
    pairs, place = np.unique(rows * len(mids) + classes, return_inverse=True)
    votes = np.bincount(place, weights=present) / np.bincount(place)
    agreed = (votes == 0) | (votes == 1)  # people who contradict each other leave it unknown
    has = _lists(pairs[votes == 1], len(images), len(mids))
    lacks = _lists(pairs[votes == 0], len(images), len(mids))
    known = np.flatnonzero(np.bincount(pairs[agreed] // len(mids), minlength=len(images)))
    found = HexNamedImages(folder / IMAGES[split], images[known])
    labels = checked_labels(
        has.select(known),
        None,
        lacks.select(known),
        num_classes=len(mids),
        where=found.describe,
    )
    return MultiLabelImages(found, labels, names)


def _lists(pairs: np.ndarray, num_images: int, num_classes: int) -> Ragged:
    counts = np.bincount(pairs // num_classes, minlength=num_images)
    return Ragged(np.concatenate([[0], np.cumsum(counts)]), pairs % num_classes)


def _classes(folder: Path) -> tuple[list[str], list[str]]:
    """The classes' ``/m/…`` and their names, each different."""
    files = sorted(folder.glob("*class-descriptions.csv"))
    if not files:
        raise InputError(
            f"{folder} has no class-descriptions.csv; download Open Images' image-level labels "
            "there"
        )
    with files[0].open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row and row[0] != "LabelName"]
    if any(len(row) != 2 for row in rows):
        raise InputError(f"{files[0]} must have two columns, LabelName and DisplayName")
    mids, titles = [row[0] for row in rows], [row[1] for row in rows]
    if len(set(mids)) < len(mids):
        twice = next(mid for place, mid in enumerate(mids) if mid in mids[:place])
        raise InputError(f"{files[0]} has the class '{twice}' twice; remove one")
    counts: dict[str, int] = {}
    for title in titles:
        counts[title] = counts.get(title, 0) + 1
    names = [t if counts[t] == 1 else f"{t} ({m})" for m, t in zip(mids, titles, strict=True)]
    return mids, names


def _labels(
    path: Path, mids: list[str], *, complete: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image number, class id and whether the image has the class, one row to a verification."""
    ids = {mid: class_id for class_id, mid in enumerate(mids)}
    numbers, classes, present = array("Q"), array("i"), array("b")
    for line, row in _rows(path):
        class_id = ids.get(row[2])
        if class_id is None:
            if complete:
                raise InputError(f"{path} line {line}: the label '{row[2]}' is not in the classes")
            continue
        try:
            numbers.append(int(row[0], 16))
            confidence = float(row[3])
        except (ValueError, OverflowError):
            confidence = -1.0
        if confidence not in (0.0, 1.0):
            raise InputError(
                f"{path} line {line}: {','.join(row)} is not an image of 16 hexadecimal digits "
                "with confidence 0 or 1; take the labels that people verified"
            )
        classes.append(class_id)
        present.append(int(confidence))
    return np.array(numbers), np.array(classes, np.int64), np.array(present)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    if not path.is_file():
        raise InputError(f"there is no {path}; download Open Images' image-level labels there")
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        if next(rows, None) != _HEADER:
            raise InputError(f"the first line of {path} must be {','.join(_HEADER)}")
        for row in rows:
            if len(row) != len(_HEADER):
                raise InputError(f"{path} line {rows.line_num} has not the four columns")
            yield rows.line_num, row
