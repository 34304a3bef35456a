"""Predictions where the user wants them: a file, a table on the terminal, or a pipe."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xception.cli.progress import progress_bar
from xception.inference.classification import Prediction
from xception.inference.tables import table_file

ROWS_AT_ONCE = 16  # images that are laid out together on a terminal


def write_predictions(
    predictions: Iterable[Prediction], output: Path, *, k: int, total: int
) -> None:
    """A row for each: image (its path), class_1, probability_1, …, class_k, probability_k, error.

    Args:
        predictions: What to write.
        output: Ends in .csv, .jsonl or .parquet.
        k: How many classes each prediction names.
        total: How many predictions there will be, for the progress bar.
    """
    columns: dict[str, type] = {"image": str}
    for rank in range(1, k + 1):
        columns |= {f"class_{rank}": str, f"probability_{rank}": float}
    columns["error"] = str
    with (
        progress_bar(Console(stderr=True), total) as advance,
        table_file(output, columns) as table,
    ):
        for prediction in predictions:
            row: dict[str, str | int | float | None] = {
                "image": prediction.path,
                "error": prediction.error,
            }
            found = zip(prediction.classes, prediction.probabilities, strict=True)
            for rank, (name, probability) in enumerate(found, start=1):
                row |= {f"class_{rank}": name, f"probability_{rank}": probability}
            table.write(row)
            advance(1)


def show_predictions(predictions: Iterable[Prediction], *, total: int) -> None:
    """A table on a terminal; tab-separated lines into a pipe, without a progress bar in them.

    Both come out while the work goes on, whatever the number of images.
    """
    console = Console()
    if console.is_terminal:
        _show_table(iter(predictions), console, total)
    else:
        _write_lines(predictions, total)


def _show_table(predictions: Iterator[Prediction], console: Console, total: int) -> None:
    widths = _column_widths(console.width)
    first = True
    with progress_bar(console, total) as advance:
        while some := list(islice(predictions, ROWS_AT_ONCE)):
            table = Table(box=None, show_header=first, pad_edge=False, header_style="bold")
            table.add_column("image", width=widths[0], overflow="fold")
            table.add_column("class", width=widths[1], overflow="fold")
            table.add_column("probability", width=widths[2], justify="right")
            for prediction in some:
                _add_rows(table, prediction)
            console.print(table)
            advance(len(some))
            first = False


def _column_widths(width: int) -> tuple[int, int, int]:
    """Image, class and probability: the same for all the tables of one command."""
    rest = max(width - 11 - 6, 20)  # 6: what lies between the columns
    image = rest * 55 // 100
    return image, rest - image, 11


def _add_rows(table: Table, prediction: Prediction) -> None:
    # Text objects: a name with [brackets] in it is no markup.
    path = Text(_printable(prediction.path))
    if prediction.error is not None:
        table.add_row(path, Text(f"unreadable: {prediction.error}", style="red"), "")
        return
    for rank, (name, probability) in enumerate(
        zip(prediction.classes, prediction.probabilities, strict=True)
    ):
        style = "bold" if rank == 0 else ""
        table.add_row(
            path if rank == 0 else "",
            Text(_printable(name), style=style),
            Text(f"{100 * probability:.1f} %", style=style),
        )


def _write_lines(predictions: Iterable[Prediction], total: int) -> None:
    """Image, class, probability and error, one line for each class that is named."""
    print("image\tclass\tprobability\terror")
    with progress_bar(Console(stderr=True), total) as advance:
        for prediction in predictions:
            path = _printable(prediction.path)
            if prediction.error is not None:
                print(f"{path}\t\t\t{prediction.error}")
            for name, probability in zip(prediction.classes, prediction.probabilities, strict=True):
                print(f"{path}\t{_printable(name)}\t{probability:.6f}\t")
            advance(1)
    sys.stdout.flush()


def _printable(name: str) -> str:
    """Names that are not UTF-8, or have tabs and line ends in them, spelt out."""
    known = name.encode("utf-8", "backslashreplace").decode()
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in known
    )
