"""Images as the bytes of their files, by index: in files, or in a column of a Parquet file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xception.data.decoding import UnreadableImageError, read_encoded
from xception.data.file_sizes import size_of
from xception.errors import InputError

_ROW_GROUPS_KEPT = 2


class EncodedImages(Protocol):
    """The bytes of image files, by index."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The bytes of an image file.

        Raises:
            UnreadableImageError: They can't be had; the message is the reason.
        """
        ...

    def key(self, index: int) -> str:
        """The image's name within the set."""
        ...

    def size(self, index: int) -> int:
        """Bytes of the file that holds the image; with another number it is another image."""
        ...

    def describe(self, index: int) -> str:
        """What to call the image in a message."""
        ...


class PackedNames:
    """Many texts in one block of bytes with one offset each, which processes share.

    Args:
        names: The texts.

    Example:
        >>> PackedNames(["a.jpg", "b/c.jpg"])[1]
        'b/c.jpg'
    """

    def __init__(self, names: Sequence[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._bytes[start : self._ends[index]].tobytes())


class ImageFiles:
    """Images in files.

    Args:
        root: The folder that the paths are relative to.
        paths: One per image, relative to ``root`` or absolute.
    """

    def __init__(self, root: str | os.PathLike[str], paths: Sequence[str]) -> None:
        self.root = os.fspath(root)
        self._paths = PackedNames(paths)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> bytes:
        """The bytes of the file."""
        return read_encoded(self.describe(index))

    def key(self, index: int) -> str:
        """The file's path below the folder."""
        return self._paths[index]

    def size(self, index: int) -> int:
        """Of the file; -1 where there is none."""
        return size_of(self.describe(index))

    def describe(self, index: int) -> str:
        """The file's path."""
        return os.path.join(self.root, self._paths[index])  # noqa: PTH118 - once per image


class ParquetImages:
    """Images in a binary column of a Parquet file.

    A row group is read as a whole, and the last two are kept: in random order this is slow where
    row groups are large. ``xception data pack`` makes shards of such a table.

    Args:
        path: The file.
        column: The name of the column; a struct with a field ``bytes`` is taken too.
    """

    def __init__(self, path: Path, column: str) -> None:
        self.path, self.column = path, column
        self._size = size_of(path)
        metadata = open_parquet(path).metadata
        rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._ends = np.cumsum(rows, dtype=np.int64)
        self._process = -1
        self._file: Any = None
        self._kept: dict[int, Any] = {}

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def read(self, index: int) -> bytes:
        """The cell's bytes."""
        index = range(len(self))[index]
        group = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[group - 1]) if group else 0
        cell = self._row_group(group)[index - start].as_py()
        if isinstance(cell, dict):
            cell = cell.get("bytes")
        if cell is None:
            raise UnreadableImageError("the cell is empty")
        return bytes(cell)

    def _row_group(self, group: int) -> Any:
        if self._process != os.getpid():  # a file that is open already must not be shared by a fork
            self._file, self._kept, self._process = open_parquet(self.path), {}, os.getpid()
        if group not in self._kept:
            while len(self._kept) >= _ROW_GROUPS_KEPT:
                del self._kept[next(iter(self._kept))]
            try:
                rows = self._file.read_row_group(group, columns=[self.column])
            except Exception as error:  # a damaged file makes pyarrow raise almost anything
                reason = " ".join(str(error).split())[:160]
                raise UnreadableImageError(f"the row group is damaged ({reason})") from None
            self._kept[group] = rows[self.column]
        return self._kept[group]

    def key(self, index: int) -> str:
        """File name and row."""
        return f"{self.path.name} row {index}"

    def size(self, index: int) -> int:
        """Of the whole Parquet file."""
        return self._size

    def describe(self, index: int) -> str:
        """File and row, from 0."""
        return f"{self.path} row {index}"


def open_parquet(path: Path) -> Any:
    """Opens a Parquet file.

    Raises:
        InputError: It is none, or pyarrow is missing.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            f"{path} needs pyarrow: pip install 'xception[parquet]', or give .csv or .jsonl"
        ) from None
    try:
        return parquet.ParquetFile(path)
    except Exception as error:  # a damaged file makes pyarrow raise almost anything
        raise damaged_parquet(path, error) from None


def damaged_parquet(path: Path, error: Exception) -> InputError:
    """The complaint about a Parquet file that can't be read, or not to its end."""
    reason = " ".join(str(error).split())[:160]
    return InputError(f"{path} can't be read as Parquet ({reason})")
