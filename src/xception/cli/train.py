"""``xception train RECIPE``: trains a model as a recipe says."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from xception.errors import InputError

SUMMARY = "train a model as a recipe says"

USAGE = """\
usage: xception train RECIPE [--output DIR] [--resume | --overwrite] [--dotted.key VALUE …]

Trains the model of a recipe; writes recipe.yaml, metrics.csv, tensorboard/, checkpoints/,
model.safetensors (the averaged weights), summary.json and report.html into DIR.

arguments:
  RECIPE              a name (see xception recipes), a YAML file, or a run directory

options:
  -h, --help          this text; after a RECIPE, with all of its keys, defaults and units
  --output DIR        directory of the run (default: runs/<name of the recipe>)
  --resume            go on with the run in DIR; afresh if it has no checkpoint yet. The short
                      form is xception train DIR --resume, for a moved run, too; where its images
                      lie now is said with --data.root
  --overwrite         replace the run in DIR
  --launcher ray      train on a Ray cluster; further options: --launcher ray --help
  --launcher slurm    write a SLURM script; further options: --launcher slurm --help
  --dotted.key VALUE  another value for a key of the recipe, e.g. --optimizer.learning_rate 0.01

exit codes: 0 done, 1 done but some images could not be read, 2 wrong use,
3 the run failed (NaN, no space), 130/143 interrupted and saved (138: by SIGUSR1,
129: the terminal was closed)

Under torchrun with --max-restarts, a restart goes on by itself from the newest checkpoint.
"""


def _take_option(words: list[str], name: str) -> str | None:
    """Removes ``--name VALUE`` or ``--name=VALUE`` and returns the value."""
    for place, word in enumerate(words):
        if word == name:
            if place + 1 == len(words) or words[place + 1].startswith("--"):
                raise InputError(f"{name} lacks a value")
            value = words[place + 1]
            del words[place : place + 2]
            return value
        if word.startswith(f"{name}="):
            del words[place]
            return word.partition("=")[2]
    return None


def _take_switch(words: list[str], name: str) -> bool:
    if name not in words:
        return False
    words.remove(name)
    return True


def main(arguments: Sequence[str]) -> int:
    """Runs the verb."""
    words = list(arguments)
    launcher = _take_option(words, "--launcher")
    wants_help = any([_take_switch(words, "-h"), _take_switch(words, "--help")])
    if wants_help and not words and launcher is None:
        print(USAGE, end="")
        return 0
    named = bool(words) and not words[0].startswith("-")
    if not named and launcher is None:
        raise InputError("which recipe? xception train RECIPE …; `xception recipes` lists them")
    recipe_name = words.pop(0) if named else None
    output = _take_option(words, "--output")
    resume, overwrite = _take_switch(words, "--resume"), _take_switch(words, "--overwrite")
    if resume and overwrite:
        raise InputError("--resume goes on with a run and --overwrite deletes it: choose one")
    if launcher is not None:
        from xception.cli.launchers import launch

        return launch(
            launcher,
            recipe_name,
            words,
            output=output,
            resume=resume,
            overwrite=overwrite,
            wants_help=wants_help,
        )
    assert recipe_name is not None
    if wants_help:
        from xception.recipes.load import recipe_help

        print(USAGE + recipe_help(recipe_name, words))
        return 0
    directory = Path(output) if output else None
    return train(recipe_name, words, directory, resume=resume, overwrite=overwrite)


def default_directory(recipe_name: str, name: str, *, resume: bool) -> Path:
    """Where a run goes without ``--output``; one that is named as RECIPE goes on where it lies.

    Args:
        recipe_name: As on the command line.
        name: Of the recipe that it means.
        resume: Whether a run goes on.
    """
    from xception.recipes.load import shipped_recipes

    named = Path(recipe_name)
    if resume and named.is_dir() and recipe_name not in shipped_recipes():
        return named
    return Path("runs") / name


def train(
    recipe_name: str,
    overrides: list[str],
    directory: Path | None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    print_table: bool = True,
) -> int:
    """Runs a recipe and says how it ended.

    Args:
        recipe_name: A shipped recipe's name, a YAML file, or a run directory.
        overrides: Words such as ``["--optimizer.learning_rate", "0.1"]``.
        directory: The run's directory; by default as `default_directory`.
        resume: Go on with the run in it; implied where torchrun has restarted the processes.
        overwrite: Replace the run in it.
        print_table: Whether the table of results is printed at the end.

    Returns:
        The exit code.
    """
    from xception.cli.results import print_results, report_unreadable
    from xception.recipes.announcement import is_first_process
    from xception.recipes.load import load_recipe
    from xception.recipes.run import run_recipe
    from xception.training.interruption import RunInterrupted
    from xception.training.run_directory import RunDirectory

    recipe = load_recipe(recipe_name, overrides)
    directory = directory or default_directory(recipe_name, recipe.name, resume=resume)
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0:
        resume, overwrite = True, False
    was_finished = resume and RunDirectory(directory).is_finished()
    try:
        run = run_recipe(recipe, directory, resume=resume, overwrite=overwrite)
    except RunInterrupted as stop:
        words = ["xception", "train", recipe_name, "--output", str(directory), "--resume"]
        if is_first_process():
            again = shlex.join([*words, *overrides])
            print(f"xception: {stop}; go on with: {again}", file=sys.stderr)
        return stop.exit_code
    if not is_first_process():
        return 0
    if print_table:
        print_results(run)
    return 0 if was_finished else report_unreadable(run)
