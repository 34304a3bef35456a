"""What the verbs of ``xception benchmark`` share: progress, and under which conditions they ran."""

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xception.errors import InputError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def tell(text: str) -> None:
    """Shows on a terminal what is under way, in one line that the next one replaces."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table, the first column flush left."""
    from rich.console import Console
    from rich.table import Table

    tell("")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 140)
    console.print(table)


def conditions(verb: str, arguments: Sequence[str], options: "Namespace") -> dict[str, Any]:
    """Rounds, command, hardware, versions, commit and date."""
    import datetime

    from xception.training.environment import commit, hardware, versions

    machine = hardware()
    name = options.hardware or (machine["gpus"] or [machine["processor"]])[0]
    return {
        "rounds": options.rounds,
        "warm_up": options.warm_up,
        "seed": options.seed,
        "command": shlex.join(["xception", "benchmark", verb, *arguments]),
        "hardware_name": name,
        "hardware": machine,
        "versions": versions(),
        "commit": commit(),
        "date": str(datetime.date.today()),
    }


def add_record_options(parser: "ArgumentParser", result_file: str) -> None:
    """Adds the options for what is kept.

    Args:
        parser: Of the verb.
        result_file: How the file is called that ``--save`` writes.
    """
    add = parser.add_argument
    add("--json", type=str, help="File to write all figures to.")
    add("--plot", type=str, help="Picture to write: .svg, .png or .pdf.")
    add("--save", type=str, help=f"Folder to write {result_file} to.")
    add("--hardware", type=str, help="The hardware's name in that file; by default as it says.")


def check_numbers(options: "Namespace", limits: Sequence[tuple[str, int]]) -> None:
    """Refuses numbers that are too small.

    Args:
        options: What was given.
        limits: Pairs of a key and its least value.
    """
    for key, least in limits:
        if getattr(options, key) < least:
            flag = key.replace("_", "-")
            raise InputError(f"--{flag} is {getattr(options, key)}; give {least} or more")
