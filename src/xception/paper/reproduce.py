"""Runs items of the paper: cells, then table 3, then the report."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xception.errors import InputError
from xception.home import expand_home
from xception.paper.cells import Cell, is_running, plan_cells, run_cells
from xception.paper.items import Item, choose_items
from xception.paper.manifest import write_manifest
from xception.paper.scale import Scale
from xception.paper.scales import find_scale


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        scale: The size.
        items: What was asked for.
        cells: What is trained for them.
        output: The directory.
        data: The data set's name.
        data_root: Where it lies, if given.
        overrides: Words such as ``--trainer.max_steps=2``, for every recipe.
    """

    scale: Scale
    items: list[Item]
    cells: list[Cell]
    output: Path
    data: str
    data_root: str | None = None
    overrides: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The overrides of every recipe."""
        root = [f"--data.root={self.data_root}"] if self.data_root else []
        return [*root, *self.overrides]


def plan(
    scale_name: str,
    item_names: Sequence[str],
    output: Path,
    *,
    seeds: int | None = None,
    data_root: str | None = None,
    overrides: Sequence[str] = (),
) -> Plan:
    """Finds out what is to be done; changes nothing.

    Args:
        scale_name: "digits", "cifar10", "imagenet" or "jft".
        item_names: Items; all of them without any.
        output: The directory.
        seeds: Of every cell; by default the scale's own numbers.
        data_root: Where the data lie.
        overrides: Further ``--dotted.key=value`` words for every recipe.

    Raises:
        InputError: No such scale, item, key or folder.
    """
    scale = find_scale(scale_name)
    if data_root is not None and scale.name == "digits":
        raise InputError("the digits are embedded in scikit-learn: leave --data-root out")
    if data_root is not None and not expand_home(data_root).is_dir():
        raise InputError(f"--data-root {data_root}: there is no such folder")
    chosen = choose_items(scale, item_names)
    cells = plan_cells(scale, chosen, output, seeds)
    root = str(expand_home(data_root)) if data_root is not None else None
    words = normalized(overrides)
    made = Plan(scale, chosen, cells, output, data_name(scale, root, words), root, words)
    for recipe in {cell.variant.recipe: cell for cell in cells}.values():
        recipe.recipe(made.words)  # a wrong key is told before anything is written
    return made


def normalized(words: Sequence[str]) -> list[str]:
    """Overrides in one writing, so that equal ones compare equal.

    Example:
        >>> normalized(["--trainer.max_steps", "2"])
        ['--trainer.max_steps=2']
    """
    from xception.recipes.load import split_overrides

    return [f"--{key}={value}" for key, value in sorted(split_overrides(list(words)).items())]


def data_name(scale: Scale, root: str | None, words: Sequence[str] = ()) -> str:
    """What the report calls the data: what takes the place of a data set is not that itself.

    Args:
        scale: The scale.
        root: Where the data lie.
        words: Overrides of every recipe; one of them may name other data.
    """
    other = next(
        (w.removeprefix("--data.name=") for w in words if w.startswith("--data.name=")), ""
    )
    if scale.name == "jft" and root is not None:
        return f"the images with several labels in the folder {Path(root).resolve().name}"
    if other == "folder" and root is not None:
        return f"the images in the folder {Path(root).resolve().name}"
    if other:
        return f"the data set {other} in the place of {scale.data}"
    train = Path(root) / "train" if root is not None else None
    if scale.name != "cifar10" or train is None or not train.is_dir():
        return scale.data
    endings = (path.suffix.lower() for path in train.glob("*/*") if path.is_file())
    ending = next(endings, "").removeprefix(".")
    kind = {"jpg": "JPEG", "jpeg": "JPEG"}.get(ending, ending.upper() or "image folder")
    return f"{scale.data}, {kind}"


def reproduce(made: Plan, say: Callable[[str], None] = print) -> bool:
    """Carries a plan out and writes the report.

    Args:
        made: From ``plan``.
        say: Takes a line about each cell.

    Returns:
        Whether every cell is finished, here or by another process that is still at it.

    Raises:
        InputError: Wrong data, or a directory of something else.
        RunInterrupted: The user stopped it; everything finished stays.
    """
    from filelock import FileLock

    from xception.paper.report import write_paper_report

    if made.scale.name == "jft" and not any(w.startswith("--data.root=") for w in made.words):
        raise InputError("scale jft needs data.root: name the folder of images with --data-root")
    write_manifest(made.output, _manifest(made))
    failed, elsewhere = False, []
    for number, (cell, outcome) in enumerate(run_cells(made.cells, made.words), 1):
        failed |= outcome == "failed"
        elsewhere += [cell] if outcome == "running elsewhere" else []
        reason = f": {cell.failure}" if outcome == "failed" else ""
        say(f"[{number}/{len(made.cells)}] {cell.name}: {outcome}{reason}")
    _measure_speeds(made, elsewhere, say)
    for item in made.items:
        if item.kind == "absent":
            say(f"{item.name}: not run: {item.absent}")
    with FileLock(made.output / ".report.lock"):
        page, *_ = write_paper_report([made.output], made.output)
    say(f"report: {page}")
    return not failed


def _measure_speeds(made: Plan, elsewhere: Sequence[Cell], say: Callable[[str], None]) -> None:
    """Measures what was asked for and is not there, unless another process is training here.

    Its training would slow the measurement down, and it measures itself when it has come to its
    end, if it was given the same items.

    Args:
        made: The plan.
        elsewhere: Cells that another process was at when this one came to them.
        say: Takes a line about each measurement.
    """
    from filelock import FileLock

    from xception.paper.spectrum_speed import measure_spectrum_speed, spectrum_speed_path
    from xception.paper.speed import measure_speed, speed_path, write_speed

    spectrum = any((item.name, item.kind) == ("spectrum", "cells") for item in made.items)
    table_3 = any(item.kind == "speed" for item in made.items)
    for wanted, name, path, measure in (
        (table_3, "table-3", speed_path(made.output), measure_speed),
        (spectrum, "spectrum", spectrum_speed_path(made.output), measure_spectrum_speed),
    ):
        if not wanted or path.exists():
            continue
        if any(map(is_running, elsewhere)):
            say(f"{name}: speed is left to the process that still trains here")
            continue
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not path.exists():
                say(f"{name}: measuring the speed of its networks in turns")
                write_speed(path, measure(made.scale, made.words))


def _manifest(made: Plan) -> dict[str, Any]:
    return {
        "scale": made.scale.name,
        "data": made.data,
        "data_root": made.data_root,
        "overrides": made.overrides,
        "command": " ".join(["xception", *sys.argv[1:]]),
    }
