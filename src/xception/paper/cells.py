"""A cell: one variant with one seed, in a run directory of its own. Finished cells are skipped."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xception.errors import InputError, RunFailedError
from xception.paper.claims import claims
from xception.paper.items import Item
from xception.paper.locks import try_lock
from xception.paper.scale import Scale, Variant
from xception.paper.variants import variants
from xception.recipes.load import Recipe, load_recipe
from xception.training.run_directory import RunDirectory

State = Literal["finished", "broken", "absent"]
Outcome = Literal["finished", "already finished", "running elsewhere", "failed"]


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        variant: What is trained.
        seed: Of weights, order, augmentation, dropout.
        path: Its run directory.
    """

    variant: Variant
    seed: int
    path: Path

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def state(self) -> State:
        """Whether it has come to its end, was begun, or neither."""
        directory = RunDirectory(self.path)
        if directory.is_finished():
            return "finished"
        return "broken" if directory.is_run() else "absent"

    @property
    def failure(self) -> str | None:
        """Why it could not be finished, if so."""
        path = self.failure_file
        return str(json.loads(path.read_text())["reason"]) if path.exists() else None

    @property
    def failure_file(self) -> Path:
        """Says why, beside the run directory."""
        return self.path.parent / f"{self.path.name}.failed.json"

    def recipe(self, extra: Sequence[str] = ()) -> Recipe:
        """Its full recipe.

        Args:
            extra: Further overrides, words such as ``--data.root=…``; they win.
        """
        words = [f"--{key}={value}" for key, value in self.variant.overrides.items()]
        return load_recipe(
            self.variant.recipe,
            [*words, f"--seed={self.seed}", "--trainer.enable_progress_bar=false", *extra],
        )


def plan_cells(
    scale: Scale, items: Sequence[Item], output: Path, seeds: int | None = None
) -> list[Cell]:
    """The cells of some items, each once, those of seed 0 first.

    Args:
        scale: Their size.
        items: What is asked for.
        output: The directory of the reproduction.
        seeds: Of every cell; by default the scale's own numbers.

    Raises:
        InputError: No seeds.
    """
    if seeds is not None and seeds < 1:
        raise InputError(f"--seeds {seeds}: give 1 or more")
    known = variants(scale)
    deciding = {name for claim in claims(scale) for name in claim.variants}
    wanted = {
        name: seeds or scale.seeds[0 if name in deciding else 1]
        for item in items
        for name in item.variants
    }
    most = max(wanted.values(), default=0)
    return [
        Cell(known[name], seed, cell_path(output, name, seed))
        for seed in range(most)
        for name, count in wanted.items()
        if seed < count
    ]


def cell_path(output: Path, variant: str, seed: int) -> Path:
    """Where a cell's run lies."""
    return output / "cells" / variant / f"seed-{seed}"


def expected_seconds(cells: Sequence[Cell]) -> float:
    """Time for those that are not finished, on the scale's hardware, one after the other."""
    return sum(cell.variant.seconds for cell in cells if cell.state != "finished")


def run_cells(cells: Sequence[Cell], extra: Sequence[str] = ()) -> Iterator[tuple[Cell, Outcome]]:
    """Trains cells one after the other; yields each with what became of it.

    Several processes may do so in one directory: each cell is locked while it is trained, and the
    others pass over it. A cell that fails (its loss became NaN) does not stop the rest.

    Args:
        cells: In this order.
        extra: Overrides of every recipe; words such as ``--data.root=…``.

    Raises:
        InputError: A wrong override, data that are not there, or a directory of another recipe.
        RunInterrupted: The user stopped it; the cell is saved.
    """
    for cell in cells:
        yield cell, run_cell(cell, cell.recipe(extra))


def run_cell(cell: Cell, recipe: Recipe) -> Outcome:
    """Trains one cell, from its last checkpoint if it has one."""
    from xception.recipes.run import run_recipe

    lock = try_lock(cell.path)
    if lock is None:
        return "running elsewhere"
    try:
        if cell.state == "finished":
            directory = RunDirectory(cell.path)
            directory.claim(recipe.keys, resume=True, overwrite=False, defaults=recipe.defaults())
            return "already finished"
        cell.failure_file.unlink(missing_ok=True)
        run_recipe(recipe, cell.path, resume=True)
        return "finished"
    except RunFailedError as error:
        cell.failure_file.write_text(json.dumps({"reason": str(error)}) + "\n")
        return "failed"
    finally:
        lock.release()


def is_running(cell: Cell) -> bool:
    """Whether a process trains the cell right now."""
    lock = try_lock(cell.path)
    if lock is not None:
        lock.release()
    return lock is None
