"""Images with several labels each: from tables, from memory, from shards."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xception.data.class_lists import CLASS_LIST, read_class_list
from xception.data.decoding import decode_image
from xception.data.encoded_images import EncodedImages
from xception.data.label_tables import SUFFIXES, read_label_table
from xception.data.targets import ImageTargets, SparseLabels
from xception.errors import InputError

Split = Literal["train", "evaluation"]
TABLE_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "evaluation": ("validation", "val", "test"),
}


class MultiLabelImages:
    """Images that are decoded when asked for, with several labels each.

    Args:
        images: The bytes of the image files.
        labels: The labels of each.
        class_names: One name per class.
        rows: Which of them; all by default.
    """

    multi_label = True

    def __init__(
        self,
        images: EncodedImages,
        labels: SparseLabels,
        class_names: list[str],
        rows: np.ndarray | None = None,
    ) -> None:
        assert len(images) == len(labels)
        self.images, self._all_labels, self.rows = images, labels, rows
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self.images) if self.rows is None else len(self.rows)

    def _row(self, index: int) -> int:
        index = range(len(self))[index]
        return index if self.rows is None else int(self.rows[index])

    @property
    def labels(self) -> SparseLabels:
        """The labels of all its images."""
        return self._all_labels if self.rows is None else self._all_labels[self.rows]

    def __getitem__(self, index: int) -> tuple[Tensor, ImageTargets]:
        encoded, targets = self.encoded(index)
        return decode_image(encoded), targets

    def encoded(self, index: int) -> tuple[bytes, ImageTargets]:
        """The bytes of the image file, and the labels."""
        row = self._row(index)
        return self.images.read(row), self._all_labels[row]

    def describe(self, index: int) -> str:
        """The image's path, or its row in the table."""
        return self.images.describe(self._row(index))


class MultiLabelArrays:
    """Images that are held in memory, all of one size, with several labels each.

    Args:
        images: (N, 3, H, W) uint8.
        labels: The labels of each.
        class_names: One name per class.
        name: What messages call the set.
    """

    multi_label = True

    def __init__(
        self, images: Tensor, labels: SparseLabels, class_names: list[str], name: str = "array"
    ) -> None:
        assert images.ndim == 4
        assert images.dtype == torch.uint8
        assert len(images) == len(labels)
        self.images, self.labels, self.class_names = images, labels, class_names
        self.name = name

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, ImageTargets]:
        return self.images[index], self.labels[index]

    def describe(self, index: int) -> str:
        """The image's number in the set."""
        return f"{self.name} image {index}"


def is_multi_label_place(path: Path) -> bool:
    """Whether a path is a label table, or a folder with a class list beside tables."""
    if path.is_file():
        return path.suffix in SUFFIXES
    return (path / CLASS_LIST).is_file()


def open_multi_label(
    root: Path, split: Split, *, validation_fraction: float | None = None, seed: int = 0
) -> MultiLabelImages:
    """Opens one split of images in label tables.

    Args:
        root: A folder with ``classes.txt`` and tables ``train`` and ``validation`` (or ``val``, or
            ``test``), each .csv, .jsonl or .parquet; or a single table beside ``classes.txt``.
        split: The images to train on, or those held out.
        validation_fraction: Of a table without one of held-out images: the share of its rows that
            is held out. None: both splits are the whole table.
        seed: Chooses what is held out.

    Raises:
        InputError: There is no such table, or what `read_label_table` refuses.
    """
    if not root.exists():
        raise InputError(f"there is no label table or folder of tables {root}; check the path")
    folder = root if root.is_dir() else root.parent
    if root.is_dir():
        found = {name: _tables(folder, TABLE_NAMES[name]) for name in TABLE_NAMES}
        if not found["train"] and not (split == "evaluation" and found["evaluation"]):
            raise InputError(
                f"{folder} holds no label table train.csv, train.jsonl or train.parquet; "
                "write one, or name the table itself"
            )
        for name, tables in found.items():
            if len(tables) > 1:
                raise InputError(
                    f"{folder} holds several {name} tables, {tables[0].name} and "
                    f"{tables[1].name}; keep one"
                )
        held_out_apart = bool(found["evaluation"])
        table = found[split][0] if found[split] else found["train"][0]
    else:
        held_out_apart, table = False, root
    class_names = read_class_list(folder / CLASS_LIST)
    read = read_label_table(table, class_names)
    rows = None
    if not held_out_apart and validation_fraction is not None:
        rows = split_rows(len(read.labels), validation_fraction, seed, split)
    return MultiLabelImages(read.images, read.labels, class_names, rows)


def drawn_table(root: Path, *, tuning: bool) -> Path | None:
    """The table that held-out rows are drawn from; None where they have a table of their own.

    Args:
        root: As of `open_multi_label`.
        tuning: Whether rows are held out of the training table in any case.
    """
    if not root.is_dir():
        return root
    if _tables(root, TABLE_NAMES["evaluation"]) and not tuning:
        return None
    return next(iter(_tables(root, TABLE_NAMES["train"])), None)


def split_rows(total: int, fraction: float, seed: int, split: Split) -> np.ndarray:
    """The rows of a split, ascending: a share of them, drawn at random, is held out.

    Example:
        >>> held_out = split_rows(10, 0.3, 0, "evaluation")
        >>> len(held_out), len(split_rows(10, 0.3, 0, "train"))
        (3, 7)
    """
    if not 0 < fraction < 1:
        raise InputError(f"validation_fraction is {fraction}; it must be between 0 and 1")
    count = min(max(round(fraction * total), 1), total - 1)
    order = np.random.default_rng([seed]).permutation(total)
    return np.sort(order[:count] if split == "evaluation" else order[count:])


def _tables(folder: Path, names: tuple[str, ...]) -> list[Path]:
    for name in names:
        found = [path for s in SUFFIXES if (path := folder / f"{name}{s}").is_file()]
        if found:
            return found
    return []
