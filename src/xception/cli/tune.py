"""``xception tune RECIPE…``: a search of equal budget for learning rate and weight decay."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from xception.errors import InputError

SUMMARY = "search learning rate and weight decay, with an equal budget for each recipe"
DESCRIPTION = """\
Trains every RECIPE several times with other learning rates and weight decays: the same number of
trials, the same epochs, the same factors on each recipe's own values, no trial ended early. Trials
are compared on validation images taken out of the training images; the test images are not opened.
Writes report.md, trials.csv, search.svg, search.png, best-RECIPE.yaml (for xception train) and
trials/ into DIR. Started again it goes on; several of these commands may work in one directory.
Any key can be set for all recipes: --dotted.key VALUE."""


def main(arguments: Sequence[str]) -> int:
    """Runs the verb."""
    from xception.cli.parsing import new_parser, parse
    from xception.cli.reproduce import split_words

    parser = new_parser("tune", DESCRIPTION)
    parser.add_argument(
        "recipe", nargs="*", type=str, help="Shipped recipes, YAML files or run directories."
    )
    parser.add_argument(
        "--trials", type=int, default=16, help="Trials of each recipe, its own values included."
    )
    parser.add_argument("--output", type=str, default="runs/tune", help="Directory of the search.")
    parser.add_argument(
        "--data-root", type=str | None, default=None, help="Where the data lie (data.root)."
    )
    parser.add_argument(
        "--tuning-fraction",
        type=float,
        default=0.2,
        help="Share of the training images that becomes the validation images.",
    )
    parser.add_argument(
        "--span",
        type=float,
        default=10.0,
        help="Largest factor on the recipe's own values; the smallest is 1 over it.",
    )
    parser.add_argument(
        "--sampler",
        type=Literal["sobol", "tpe"],
        default="sobol",
        help="sobol: evenly spread, the same factors for every recipe; tpe: learns from the "
        "trials before it, after ten at random.",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="Of the factors, the validation images, each training."
    )
    words, overrides = split_words(list(arguments))
    given = parse(parser, words)
    if not given.recipe:
        raise InputError("which recipes? xception tune RECIPE…; `xception recipes` lists them")

    from xception.home import expand_home
    from xception.paper.search import SearchSpace
    from xception.paper.tuning import tune
    from xception.paper.tuning_plan import plan_search
    from xception.training.interruption import RunInterrupted, interruptible

    root = given.data_root
    if root is not None and not expand_home(root).exists():
        raise InputError(f"--data-root {root}: there is no such folder")
    search = plan_search(
        given.recipe,
        Path(given.output),
        SearchSpace(given.span, given.sampler, given.seed),
        trials=given.trials,
        tuning_fraction=given.tuning_fraction,
        data_root=str(expand_home(root)) if root is not None else None,
        overrides=overrides,
    )
    try:
        with interruptible(lambda: 0):
            return 0 if tune(search) else 1
    except RunInterrupted as stop:
        again = shlex.join(["xception", "tune", *arguments])
        print(f"xception: {stop}; go on with: {again}", file=sys.stderr)
        return stop.exit_code
