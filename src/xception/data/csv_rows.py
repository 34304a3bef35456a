"""Rows of a CSV file, also as spreadsheets write it.

Taken as meant: a byte order mark, UTF-16, line ends of any system, semicolons or tabs between the
cells, Excel's first line ``sep=;``, blanks and capitals in the heading, blank rows, and, between
semicolons, a decimal comma. Refused in one sentence: text that is not Unicode, whose letters could
only be guessed.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from xception.errors import InputError

_LARGEST_CELL = 1 << 24  # bytes of a cell; the csv module's own limit is 128 kB
_SEPARATORS = (",", ";", "\t")


def csv_rows(path: Path, known: tuple[str, ...]) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Reads a table of which some columns are known.

    Args:
        path: The file.
        known: Names of columns, in lower case; the first must be there for a separator other than
            the comma to be believed.

    Yields:
        For each row: where it stands, for a message; the heading; its cells by column.

    Raises:
        InputError: The file is not Unicode or not CSV, or a row has another number of cells.
    """
    csv.field_size_limit(_LARGEST_CELL)
    with path.open(encoding=_encoding(path), newline="") as file:
        try:
            separator, skipped, heading = _heading(file, known)
            rows = csv.reader(file, delimiter=separator, strict=True)
            yield f"{path} line {skipped + 1}", heading, {}
            for cells in rows:
                if not any(cell.strip() for cell in cells):
                    continue
                where = f"{path} line {skipped + 1 + rows.line_num}"
                if len(cells) != len(heading):
                    raise InputError(f"{where} has more or fewer columns than the first line")
                row = dict(zip(heading, cells, strict=True))
                if separator == ";" and "weights" in row:
                    row["weights"] = row["weights"].replace(",", ".")
                yield where, heading, row
        except csv.Error as error:
            raise InputError(f"{path} is not CSV: {error}") from None
        except UnicodeError:
            raise InputError(
                f"{path} is not a text file in UTF-8; save it as UTF-8 (in Excel: "
                "'CSV UTF-8', in LibreOffice: character set 'Unicode (UTF-8)')"
            ) from None


def csv_line(cells: Iterable[object]) -> str:
    r"""One row as a line to be written, with its end.

    With ``lineterminator="\n"`` the csv module quotes no carriage return, which it then reads as
    the end of a line; and a name of a file or of a class may hold one.

    Example:
        >>> csv_line(["a", "b\rc", 0.5])
        'a,"b\rc",0.5\n'
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    return "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _heading(file: io.TextIOBase, known: tuple[str, ...]) -> tuple[str, int, list[str]]:
    """The separator, the number of lines before the heading, and the names in it."""
    line, skipped, told = file.readline(), 0, None
    if line.lower().startswith("sep=") and line[4:5] in _SEPARATORS:
        told, skipped, line = line[4], 1, file.readline()
    separators = (told,) if told else _SEPARATORS
    for separator in separators:
        names = [
            name.strip().lower() if name.strip().lower() in known else name
            for name in next(csv.reader([line], delimiter=separator, strict=True), [])
        ]
        if known[0] in names:
            return separator, skipped, names
    first = separators[0]
    return first, skipped, next(csv.reader([line], delimiter=first, strict=True), [])
