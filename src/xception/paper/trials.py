"""The trials of a search: each a run directory as ``xception train`` makes it."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from xception.data.image_record import read_record
from xception.errors import InputError, RunFailedError
from xception.paper.search import KEYS, Asked, Study
from xception.recipes.load import Recipe, load_recipe
from xception.training.run_directory import RunDirectory

State = Literal["finished", "failed", "running"]
_DIVERGED = ("the loss", "is not finite")
"""In the messages of runs that a learning rate broke, while training or when evaluated."""


@dataclass(frozen=True)
class Network:
    """A recipe that is searched.

    Attributes:
        source: What names it: a shipped recipe or a file.
        recipe: With the validation split and the overrides of the search, and its own values.
        words: These overrides.
    """

    source: str
    recipe: Recipe
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its study, its trials and its file of best values."""
        return self.recipe.name

    def own(self, key: str) -> float:
        """The recipe's own value of one of ``KEYS``."""
        return float(self.recipe.keys["optimizer"][key])

    def values(self, factors: dict[str, float]) -> dict[str, float]:
        """A trial's learning rate and weight decay, to four digits; the recipe's own at factor 1.

        Example:
            >>> own = Recipe("r", {"optimizer": {"learning_rate": 0.1, "weight_decay": 5e-4}})
            >>> Network("r", own, ()).values({"learning_rate": 1.23456, "weight_decay": 1.0})
            {'learning_rate': 0.1235, 'weight_decay': 0.0005}
        """
        return {
            key: self.own(key) if factor == 1 else float(f"{self.own(key) * factor:.4g}")
            for key, factor in factors.items()
        }

    def trial_recipe(self, factors: dict[str, float]) -> Recipe:
        """The full recipe of a trial."""
        values = [f"--optimizer.{key}={value!r}" for key, value in self.values(factors).items()]
        return load_recipe(self.source, [*self.words, *values])


@dataclass(frozen=True)
class TrialResult:
    """What became of a trial.

    Attributes:
        recipe: The recipe's name.
        number: From 0; 0 has the recipe's own values.
        values: Learning rate and weight decay.
        state: Finished, failed (its loss became NaN), or running here or in another process.
        figure: Top-1 or MAP@k on the validation images, in [0, 1]; None unless finished.
        images: Validation images.
        steps: Optimizer steps of the training; None unless finished.
        reason: Of a failure.
        path: The run directory.
    """

    recipe: str
    number: int
    values: dict[str, float]
    state: State
    figure: float | None
    images: int | None
    steps: int | None
    reason: str
    path: Path


def open_network(source: str, words: Sequence[str]) -> Network:
    """Reads a recipe with the overrides of a search.

    Raises:
        InputError: A wrong recipe or key, or one without a learning rate or weight decay.
    """
    recipe = load_recipe(source, list(words))
    network = Network(source, recipe, tuple(words))
    for key in KEYS:
        if not network.own(key) > 0:
            raise InputError(
                f"optimizer.{key} of {recipe.name} is {network.own(key):g}, and factors are tried "
                f"on it; set one above 0, e.g. --optimizer.{key} {'0.1' if key[0] == 'l' else 1e-4}"
            )
    return network


def trial_path(output: Path, recipe: str, number: int) -> Path:
    """Where a trial's run lies."""
    return output / "trials" / recipe / f"trial-{number:03d}"


def run_trial(output: Path, network: Network, study: Study, trial: Asked) -> TrialResult:
    """Trains one trial, from its last checkpoint if it has one, and notes its figure.

    Args:
        output: The directory of the search.
        network: The recipe.
        study: Its study.
        trial: Which.

    Raises:
        InputError: Data that are not there, a directory of something else.
        RunFailedError: No space is left; the trial goes on at the next start.
        RunInterrupted: The user stopped it; the trial is saved.
    """
    from xception.recipes.run import run_recipe

    path = trial_path(output, network.name, trial.number)
    # The first trial's: those of a folder that changes during the search could not be compared.
    record = read_record(RunDirectory(trial_path(output, network.name, 0)).images)
    try:
        run_recipe(network.trial_recipe(trial.factors), path, resume=True, record=record)
        figure = _figure(path)
        if figure is None or not math.isfinite(figure):
            raise RunFailedError("the loss led to no defined figure on the validation images")
    except RunFailedError as error:
        if not any(words in str(error) for words in _DIVERGED):
            raise  # not a matter of these values: no space, a lost process
        _failure_file(path).write_text(json.dumps({"reason": str(error)}) + "\n")
        study.fail(trial.number)
    else:
        study.finish(trial.number, figure)
    return read_trial(output, network, trial)


def read_trials(output: Path, network: Network, study: Study) -> list[TrialResult]:
    """All trials of a recipe, by number."""
    return [
        read_trial(output, network, Asked(trial.number, dict(trial.params)))
        for trial in study.trials()
    ]


def read_trial(output: Path, network: Network, trial: Asked) -> TrialResult:
    """What a trial's run directory says of it."""
    path = trial_path(output, network.name, trial.number)
    values = network.values(trial.factors)
    if _failure_file(path).exists():
        reason = str(json.loads(_failure_file(path).read_text())["reason"])
        return TrialResult(
            network.name, trial.number, values, "failed", None, None, None, reason, path
        )
    if not RunDirectory(path).is_finished():
        return TrialResult(
            network.name, trial.number, values, "running", None, None, None, "", path
        )
    summary = _summary(path)
    return TrialResult(
        network.name,
        trial.number,
        values,
        "finished",
        _figure(path),
        int(summary["evaluation"]["images"]),
        int(summary["training"]["steps"]),
        "",
        path,
    )


def write_best_recipe(network: Network, best: TrialResult, directory: Path) -> Path:
    """Writes ``best-<recipe>.yaml``: the best values, on all training images again.

    Args:
        network: The recipe.
        best: Its best trial.
        directory: Where to.

    Returns:
        The file; ``xception train`` runs it as it is.
    """
    keys = network.trial_recipe({}).keys
    optimizer = {**keys["optimizer"], **best.values}
    data = {**keys["data"], "tuning_fraction": None}
    full = {**keys, "optimizer": optimizer, "data": data}
    head = (
        f"# {network.name} with the best values of {best.path.name}, chosen on validation images\n"
        "# taken out of the training images; this recipe trains on all of these.\n"
    )
    path = directory / f"best-{network.name}.yaml"
    partial = directory / f".{path.name}.partial"
    partial.write_text(head + yaml.safe_dump(full, sort_keys=False, allow_unicode=True))
    partial.replace(path)
    return path


def _failure_file(path: Path) -> Path:
    return path.parent / f"{path.name}.failed.json"


def _summary(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(RunDirectory(path).summary.read_text())
    except ValueError as error:
        raise InputError(f"{RunDirectory(path).summary} is damaged: {error}") from None
    assert isinstance(content, dict)
    return content


def _figure(path: Path) -> float | None:
    """Top-1, or MAP@k of images with several labels."""
    found = _summary(path)["evaluation"]
    value = found.get("map", found.get("top1"))
    return None if value is None else float(value)
