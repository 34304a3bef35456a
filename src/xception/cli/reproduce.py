"""``xception reproduce [ITEM…]``: the paper's tables and figures, at a scale that fits."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from xception.paper.reproduce import Plan

SUMMARY = "run the paper's tables and figures, and report"
DESCRIPTION = """\
Trains what the paper's tables and figures need (finished cells are skipped, broken ones resumed;
several of these commands may work in one directory at once), draws, decides by a written rule, and
writes report.html, report.md, results.csv, claims.csv and figures/ into DIR. Items: figure-1 …
figure-10, table-1 … table-3, learning-rates, order, weight-decay, vgg-style, spectrum; all of them
without any. Any key of the recipes can be set for all cells: --dotted.key VALUE."""


def main(arguments: Sequence[str]) -> int:
    """Runs the verb."""
    from xception.cli.parsing import new_parser, parse

    parser = new_parser("reproduce", DESCRIPTION)
    parser.add_argument("item", nargs="*", type=str, help="Items; all by default.")
    parser.add_argument(
        "--scale",
        type=Literal["digits", "cifar10", "imagenet", "jft"],
        default="digits",
        help="digits: 15 minutes on two CPU cores. cifar10: hours. imagenet (tables 1 and 3, most "
        "figures) and jft (table 2, figures 7 and 8, vgg-style): a cluster; see --dry-run.",
    )
    parser.add_argument(
        "--seeds",
        type=int | None,
        default=None,
        help="Seeds of every cell; null: digits 1; cifar10 6 where a claim is decided, else 3.",
    )
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="Directory; null: runs/reproduce-<scale>.",
    )
    parser.add_argument(
        "--data-root",
        type=str | None,
        default=None,
        help="Where the data lie: a download folder of torchvision, or train/ and test/ (val/); "
        "at scale imagenet its folder, at scale jft label tables or shards.",
    )
    parser.add_argument(
        "--gpu-hour-price",
        type=float,
        default=0.9,
        help="US dollars for an hour of one GPU, for the cost that --dry-run prints of the scales "
        "for clusters; the default is assumed for a K80, the paper's GPU.",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="Print the cells and the expected time; run nothing."
    )
    words, overrides = split_words(list(arguments))
    given = parse(parser, words)

    from xception.paper.reproduce import plan, reproduce
    from xception.training.interruption import RunInterrupted, interruptible

    made = plan(
        given.scale,
        given.item,
        Path(given.output or f"runs/reproduce-{given.scale}"),
        seeds=given.seeds,
        data_root=given.data_root,
        overrides=overrides,
    )
    if given.dry_run:
        print_plan(made, given.gpu_hour_price)
        return 0
    try:
        with interruptible(lambda: 0):
            return 0 if reproduce(made) else 1
    except RunInterrupted as stop:
        again = shlex.join(["xception", "reproduce", *arguments])
        print(f"xception: {stop}; go on with: {again}", file=sys.stderr)
        return stop.exit_code


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """Parts the verb's own words from overrides of the recipes.

    Example:
        >>> split_words(["figure-9", "--trainer.max_steps", "2", "--seeds", "3"])
        (['figure-9', '--seeds', '3'], ['--trainer.max_steps', '2'])
    """
    own, overrides = [], []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = word.partition("=")[0]
        if not (word.startswith("--") and "." in name):
            own.append(word)
            continue
        overrides.append(word)
        if "=" not in word and rest and not rest[0].startswith("--"):
            overrides.append(rest.pop(0))
    return own, overrides


def print_plan(made: "Plan", gpu_hour_price: float) -> None:
    """Prints the cells, their state, the expected time, and the cost of a cluster's."""
    from xception.paper.cells import expected_seconds
    from xception.paper.costs import cost
    from xception.paper.speed import ROUNDS

    scale = made.scale
    price = cost(scale, made.cells, gpu_hour_price)
    print(f"scale {scale.name}")
    print(f"{'state':<9} {'expected':>9}  cell: recipe and what is changed in it")
    changes = [cell.variant.overrides.items() for cell in made.cells]
    common = dict(pair for pair in changes[0] if all(pair in c for c in changes)) if changes else {}
    for cell in made.cells:
        overrides = cell.variant.overrides.items() - common.items()
        words = [cell.variant.recipe, *sorted(f"{key}={value}" for key, value in overrides)]
        state = "failed" if cell.failure else cell.state
        reason = f" ({cell.failure})" if cell.failure else ""
        expected = time_text(cell.variant.seconds)
        print(f"{state:<9} {expected:>9}  {cell.name}: {' '.join(words)}{reason}")
    if common:
        print("every cell: " + " ".join(f"{key}={value}" for key, value in common.items()))
    for item in made.items:
        if item.kind == "speed":
            print(f"{item.name}: {ROUNDS} steps of both networks in turns")
        elif item.name == "spectrum" and item.kind == "cells":
            print(f"{item.name}: {ROUNDS} steps of its networks without activation in turns, too")
        elif item.kind == "drawing":
            print(f"{item.name}: drawn from the live module")
        elif item.kind == "absent":
            print(f"{item.name}: not run: {item.absent}")
    left = [cell for cell in made.cells if cell.state != "finished"]
    total = time_text(expected_seconds(made.cells))
    print(
        f"{len(made.cells)} cells, {len(made.cells) - len(left)} finished; about {total} for the "
        f"rest, one after the other, on {scale.hardware}"
        + (" (without the overrides that were given)" if made.overrides else "")
    )
    if price is not None:
        print(f"cost: {price.text()}")


def time_text(seconds: float) -> str:
    """A length of time in its largest fitting unit.

    Example:
        >>> time_text(25), time_text(840), time_text(7200), time_text(259200)
        ('25 s', '14 min', '2.0 h', '3.0 days')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"
