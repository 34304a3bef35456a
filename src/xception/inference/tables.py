"""Rows of results into a file: CSV, JSON lines or Parquet, by the file's ending."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from xception.data.csv_rows import csv_line
from xception.errors import InputError, nearest
from xception.inference.destinations import require_writable
from xception.weights.atomic import replacing

Value = str | int | float | None
ROWS_AT_ONCE = 8192  # a Parquet row group: bounds the memory


class RowWriter(Protocol):
    """Takes the rows one after the other."""

    def write(self, row: Mapping[str, Value]) -> None:
        """Adds a row; a column that it lacks is empty."""


def require_table(path: Path, *, overwrite: bool) -> None:
    """Says before any work is done that a table could not be stored there.

    Raises:
        InputError: An unknown ending, a library that is not installed, or a place that can't be
            written.
    """
    if path.suffix not in _KINDS:
        known = list(_KINDS)
        raise InputError(
            f"{path} has the ending '{path.suffix}'{nearest(path.suffix, known)}; "
            f"give one of {', '.join(known)}"
        )
    if path.suffix == ".parquet":
        _pyarrow()
    require_writable(path, overwrite=overwrite)


@contextmanager
def table_file(path: Path, columns: Mapping[str, type]) -> Iterator[RowWriter]:
    r"""Opens a table that appears under its name when the block has ended without error.

    Args:
        path: Ends in .csv, .jsonl or .parquet.
        columns: Name and type (str, int or float) of each column, in order.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with table_file(Path(folder) / "t.jsonl", {"path": str, "p": float}) as table:
        ...         table.write({"path": "a.jpg", "p": 0.5})
        ...     (Path(folder) / "t.jsonl").read_text()
        '{"path": "a.jpg", "p": 0.5}\n'
    """
    with (
        replacing(path) as partial,
        partial.open("wb") as file,
        _KINDS[path.suffix](file, columns) as writer,
    ):
        yield writer


class _Csv:
    def __init__(self, file: IO[bytes], columns: Mapping[str, type]) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._columns = list(columns)
        self._text.write(csv_line(columns))

    def write(self, row: Mapping[str, Value]) -> None:
        self._text.write(csv_line(_plain(row.get(name)) for name in self._columns))

    def __enter__(self) -> "_Csv":
        return self

    def __exit__(self, *_: object) -> None:
        self._text.detach()


class _JsonLines:
    def __init__(self, file: IO[bytes], columns: Mapping[str, type]) -> None:
        self._file, self._columns = file, columns

    def write(self, row: Mapping[str, Value]) -> None:
        whole = {name: _plain(row.get(name)) for name in self._columns}
        self._file.write(json.dumps(whole, ensure_ascii=False).encode() + b"\n")

    def __enter__(self) -> "_JsonLines":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Parquet:
    def __init__(self, file: IO[bytes], columns: Mapping[str, type]) -> None:
        self._arrow, parquet = _pyarrow()
        types = {str: self._arrow.string(), int: self._arrow.int64(), float: self._arrow.float64()}
        self._schema = self._arrow.schema([(name, types[kind]) for name, kind in columns.items()])
        self._writer = parquet.ParquetWriter(file, self._schema)
        self._rows: list[dict[str, Value]] = []

    def write(self, row: Mapping[str, Value]) -> None:
        self._rows.append({name: _plain(value) for name, value in row.items()})
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def __enter__(self) -> "_Parquet":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            "a .parquet file needs pyarrow: pip install 'xception[parquet]', or give .csv or .jsonl"
        ) from None
    return pyarrow, pyarrow.parquet


def _plain(value: Value) -> Value:
    """File names that are not UTF-8 carry lone surrogates: spell these out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


_KINDS: dict[str, Any] = {".csv": _Csv, ".jsonl": _JsonLines, ".parquet": _Parquet}
