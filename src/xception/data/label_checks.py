"""What can be wrong with the labels of a table or of shards, each told in one sentence."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from xception.data.targets import Ragged, SparseLabels, sorted_lists
from xception.errors import InputError, nearest

REQUIRED, OPTIONAL = ("image", "labels"), ("weights", "absent")  # columns of a table

Where = Callable[[int], str]  # names a row of the table in a message


def require_columns(path: Path, found: Sequence[str]) -> None:
    """Raises where a table lacks a column, has it twice, or where one is probably misspelt.

    Raises:
        InputError: It does.
    """
    for name in REQUIRED:
        if name not in found:
            raise InputError(
                f"{path} lacks the column '{name}' (it has {', '.join(found) or 'none'}); "
                "rename the one that holds "
                + ("the images' paths" if name == "image" else "their labels")
            )
        if found.count(name) > 1:
            raise InputError(
                f"{path} has the column '{name}' twice, and one of them would not be read; "
                "put all of an image's labels into one cell"
            )
    for name in found:
        if name not in (*REQUIRED, *OPTIONAL) and nearest(name, list(OPTIONAL)):
            raise InputError(
                f"{path} has a column '{name}'{nearest(name, list(OPTIONAL))}; rename it"
            )


def require_once(paths: Sequence[str], table: Path, first_row: int = 0) -> None:
    """Raises where two rows are of one image.

    A table with a row to each label, as many tools write, would teach of the same image that it
    has a class and that it has not, and hold out images that are trained on.

    Args:
        paths: One to a row.
        table: Where they stand.
        first_row: The number of the first.

    Raises:
        InputError: An image is there twice.
    """
    hashes = np.fromiter(map(hash, paths), np.int64, len(paths))  # 8 bytes a row, no set of texts
    values, counts = np.unique(hashes, return_counts=True)
    suspects = np.flatnonzero(np.isin(hashes, values[counts > 1]))
    seen: dict[str, int] = {}
    for row in suspects.tolist():
        first = seen.setdefault(paths[row], row)
        if first != row:
            raise InputError(
                f"{table} has the image {paths[row]} twice, in rows {first + first_row} and "
                f"{row + first_row}; give each image one row, with all of its labels"
            )


class ClassIds:
    """From a label, as somebody wrote it, to its class id.

    Args:
        class_names: The names, each once.

    Example:
        >>> ClassIds(["cat", "dog"]).of("dog", "line 2")
        1
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = list(class_names)
        self.ids = {name: class_id for class_id, name in enumerate(class_names)}

    def of(self, label: str | int, where: str) -> int:
        """The id of a label: an integer is an id, a text a name.

        Raises:
            InputError: No such class.
        """
        if isinstance(label, str):
            found = self.ids.get(label)
            if found is None:
                raise self.unknown(label, where)
            return found
        if isinstance(label, bool) or not isinstance(label, int | np.integer):
            raise InputError(f"{where}: {label!r} is no label; give a class name or a class id")
        if not 0 <= label < len(self.class_names):
            raise outside(int(label), len(self.class_names), where)
        return int(label)

    def of_word(self, word: str, where: str) -> int:
        """The id of a label in a text file: a name, else, if no class is called so, an id.

        Raises:
            InputError: No such class.
        """
        if word not in self.ids and word.removeprefix("-").isdecimal():
            return self.of(int(word), where)
        return self.of(word, where)

    def unknown(self, name: str, where: str) -> InputError:
        """The complaint about a name that is not in the list."""
        hint = nearest(name, self.class_names) if len(self.class_names) <= 20_000 else ""
        return InputError(
            f"{where}: the label '{name}' is not in the class list{hint or '; add it there'}"
        )


def outside(class_id: int, num_classes: int, where: str) -> InputError:
    """The complaint about a class id that is out of range."""
    return InputError(
        f"{where}: the label {class_id} is not in the class list, whose ids go from 0 to "
        f"{num_classes - 1}"
    )


def checked_labels(
    present: Ragged,
    weights: np.ndarray | None,
    absent: Ragged | None,
    *,
    num_classes: int,
    where: Where,
) -> SparseLabels:
    """Labels that training can rely on, each image's ascending.

    Args:
        present: The class ids that each image has.
        weights: (L,) weight of each of them.
        absent: The class ids that each image is known not to have.
        num_classes: Classes in the list.
        where: Names a row.

    Raises:
        InputError: An id out of range or twice in a row, an image without any label, a weight that
            is negative or not finite, a class both present and absent.
    """
    for lists in (present, absent):
        if lists is None:
            continue
        wrong = np.flatnonzero((lists.values < 0) | (lists.values >= num_classes))
        if len(wrong):
            row = int(lists.rows[wrong[0]])
            raise outside(int(lists.values[wrong[0]]), num_classes, where(row))
    known = np.diff(present.offsets) + (0 if absent is None else np.diff(absent.offsets))
    empty = np.flatnonzero(known == 0)
    if len(empty):
        raise InputError(
            f"{where(int(empty[0]))}: the list of labels is empty; give the image a label, "
            "or remove it from the table"
        )
    if weights is not None:
        bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
        if len(bad):
            raise InputError(
                f"{where(int(present.rows[bad[0]]))}: the weight {weights[bad[0]]} of a label must "
                "be finite and not negative"
            )
    present, order = sorted_lists(present, num_classes)
    _refuse_twice(present, num_classes, where, "twice")
    if absent is not None:
        absent = sorted_lists(absent, num_classes)[0]
        _refuse_twice(absent, num_classes, where, "twice as absent")
        both = sorted_lists(_merged(present, absent), num_classes)[0]
        _refuse_twice(both, num_classes, where, "both as present and as absent")
    return SparseLabels(
        present, None if weights is None else weights[order].astype(np.float32), absent
    )


def _merged(first: Ragged, second: Ragged) -> Ragged:
    rows = np.concatenate([first.rows, second.rows])
    values = np.concatenate([first.values, second.values])
    return Ragged(first.offsets + second.offsets, values[np.argsort(rows, kind="stable")])


def _refuse_twice(lists: Ragged, num_classes: int, where: Where, how: str) -> None:
    """Raises where an ascending list holds a value twice."""
    rows = lists.rows
    twice = np.flatnonzero((np.diff(lists.values.astype(np.int64)) == 0) & (np.diff(rows) == 0))
    if len(twice):
        raise InputError(
            f"{where(int(rows[twice[0]]))}: the label {int(lists.values[twice[0]])} is listed "
            f"{how}; list it once"
        )
