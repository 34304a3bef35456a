"""What the kernel benchmark has measured: written after every part, and gone on from."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xception.errors import InputError
from xception.weights.atomic import replacing

Figures = dict[str, Any]


class Record:
    """The figures of one GPU, in a JSON file that every row is written to as it is measured.

    A run that is stopped at any moment loses the row in work; the next one measures what is not
    there yet, and what the kernels, if their source has changed since, had given.
    """

    def __init__(
        self,
        path: Path,
        heading: Figures,
        *,
        render: Callable[[Figures], None] = lambda figures: None,
        again: bool = False,
        minutes: float | None = None,
        wanted: Sequence[str] = (),
    ) -> None:
        """Reads what an earlier run has left.

        Args:
            path: The JSON file; it need not exist.
            heading: Device, rates and whatever else is the same for all rows; replaces the old one.
            render: Writes tables from the figures, whenever they change.
            again: Whether to measure what is already there, too.
            minutes: After which :meth:`next` finds no time left; None for no limit.
            wanted: Words of which a row's name must contain one; empty for all rows.

        Raises:
            InputError: The file is of another device or batch size, or no such file.
        """
        self._path, self._render, self._again, self._wanted = path, render, again, wanted
        self._begin = time.monotonic()
        self._seconds = None if minutes is None else 60 * minutes
        self.left_out: list[str] = []
        self.figures: Figures = self._earlier(heading) | heading
        self.save()

    def lacks(self, table: str, name: str) -> bool:
        """Whether a row is wanted and not yet there.

        Args:
            table: Its table.
            name: Its name.
        """
        if self._wanted and not any(word in f"{table}: {name}" for word in self._wanted):
            return False
        return self._again or all(row["name"] != name for row in self.figures.get(table, []))

    def late(self) -> bool:
        """Whether the time is over."""
        return self._seconds is not None and time.monotonic() - self._begin > self._seconds

    def next(self, table: str, name: str) -> bool:
        """Whether a row is to be measured now: it is lacking, and time is left.

        Args:
            table: Its table.
            name: Its name.
        """
        if not self.lacks(table, name):
            return False
        if self.late():
            self.left_out.append(f"{table}: {name}")
            return False
        return True

    def put(self, table: str, row: Figures) -> None:
        """Keeps a row, in the place of an earlier one of its name, and writes all to the disk.

        Args:
            table: Its table.
            row: With a ``"name"``.
        """
        rows = self.figures.setdefault(table, [])
        places = [index for index, other in enumerate(rows) if other["name"] == row["name"]]
        if places:
            rows[places[0]] = row
        else:
            rows.append(row)
        self.save()

    def say(self, text: str) -> None:
        """Prints a line with the seconds since the start."""
        print(f"[{time.monotonic() - self._begin:5.0f} s] {text}", flush=True)

    def save(self) -> None:
        """Writes file and tables; atomic, so that a run that is stopped leaves whole ones."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as partial:
            partial.write_text(json.dumps(self.figures, indent=2) + "\n")
        self._render(self.figures)

    def _earlier(self, heading: Figures) -> Figures:
        try:
            found = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise InputError(f"{self._path} is not a file of this benchmark; name another one")
        for name in ("device", "batch"):
            if found.get(name) != heading.get(name):
                raise InputError(
                    f"{self._path} was measured with {name} {found.get(name)}, not "
                    f"{heading.get(name)}; name another file or --output"
                )
        if found.get("sources") != heading.get("sources"):  # kernels have been changed since
            found = {
                table: [row for row in rows if not row["name"].startswith("ours, fused")]
                if isinstance(rows, list)
                else rows
                for table, rows in found.items()
                if not table.startswith(("checks", "kernels"))
            }
        return found
