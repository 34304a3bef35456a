"""``xception recipes``: what can be trained, and what each recipe says."""

from collections.abc import Sequence
from pathlib import Path

SUMMARY = "list the shipped recipes, or print one"
DESCRIPTION = "Lists the shipped recipes, a line each; with a name, prints that recipe."


def head_comment(path: Path) -> list[str]:
    """The lines of the comment that a recipe begins with, without their ``#``."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return lines


def main(arguments: Sequence[str]) -> int:
    """Runs the verb."""
    from xception.cli.parsing import new_parser, parse

    parser = new_parser("recipes", DESCRIPTION)
    parser.add_argument(
        "name", nargs="?", type=str, help="A recipe to print: a shipped name, a file or a run."
    )
    name = parse(parser, list(arguments)).name

    from xception.recipes.load import find_recipe, shipped_recipes

    if name is not None:
        print(find_recipe(name).read_text(encoding="utf-8"), end="")
        return 0

    rows = [("RECIPE", "WHAT IT IS", "PAPER", "EXPECTED TIME")]
    for recipe, path in shipped_recipes().items():
        head = head_comment(path)
        fields = dict(line.split(": ", 1) for line in head if ": " in line)
        rows.append((recipe, head[0], fields.get("Paper", ""), fields.get("Time", "")))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:  # one line each, however narrow the terminal is
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    return 0
