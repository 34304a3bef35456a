"""A search of equal budget over learning rate and weight decay, for every network compared."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xception.errors import InputError, count_of
from xception.paper.locks import try_lock
from xception.paper.manifest import claiming, manifest_path, refuse_foreign, replace_manifest
from xception.paper.search import KEYS, Asked, Study
from xception.paper.trials import Network, TrialResult, read_trials, run_trial, trial_path
from xception.paper.tuning_plan import Search
from xception.paper.tuning_report import write_tuning_report
from xception.training.run_directory import refuse_contradictions


def tune(search: Search, say: Callable[[str], None] = print) -> bool:
    """Carries a search out and writes its report. Started again, it goes on.

    Several processes may do so in one directory. The recipes take turns, so that their budgets
    stay nearly equal at any time.

    Args:
        search: From ``plan_search``.
        say: Takes a line about each trial.

    Returns:
        Whether every recipe has a finished trial.

    Raises:
        InputError: Wrong data, or a directory of something else.
        RunInterrupted: The user stopped it; everything finished stays.
    """
    from filelock import FileLock

    _claim(search)
    studies = {network.name: search.study(network) for network in search.networks}
    while (found := _next_trial(search, studies)) is not None:
        network, trial, lock = found
        try:
            result = run_trial(search.output, network, studies[network.name], trial)
        finally:
            lock.release()
        say(f"{network.name}, trial {trial.number + 1} of {search.trials}: {_outcome(result)}")
    with FileLock(search.output / ".report.lock"):
        results = {
            network.name: read_trials(search.output, network, studies[network.name])
            for network in search.networks
        }
        page = write_tuning_report(search, results)
    elsewhere = sum(r.state == "running" for each in results.values() for r in each)
    if elsewhere:
        say(f"{count_of(elsewhere, 'trial')} still running in another process, which reports again")
    say(f"report: {page}")
    return all(any(r.state == "finished" for r in each) for each in results.values())


def _outcome(result: TrialResult) -> str:
    values = ", ".join(f"{key.replace('_', ' ')} {result.values[key]:g}" for key in KEYS)
    if result.state == "failed":
        return f"{values}: failed: {result.reason}"
    return f"{values}: {result.figure:.4f} on validation images"


def _next_trial(search: Search, studies: dict[str, Study]) -> tuple[Network, Asked, Any] | None:
    """A trial that a killed process left, or a new one; with the lock that makes it ours."""
    from filelock import FileLock

    with FileLock(search.output / ".ask.lock"):
        for network in search.networks:
            for trial in studies[network.name].running():
                lock = try_lock(trial_path(search.output, network.name, trial.number))
                if lock is not None:
                    return network, trial, lock
        asked = {n.name: len(studies[n.name].trials()) for n in search.networks}
        fewest = min(search.networks, key=lambda network: asked[network.name])
        if asked[fewest.name] >= search.trials:
            return None
        trial = studies[fewest.name].ask()
        lock = try_lock(trial_path(search.output, fewest.name, trial.number))
        assert lock is not None
        return fewest, trial, lock


def _claim(search: Search) -> None:
    """Makes the directory this search's own; checks the data before anything is written.

    Raises:
        InputError: It holds something else, or a search with other settings or more trials.
    """
    content: dict[str, Any] = {
        "kind": "tuning",
        "trials": search.trials,
        "seed": search.space.seed,
        "span": search.space.span,
        "sampler": search.space.sampler,
        "recipes": {network.name: network.recipe.keys for network in search.networks},
        "command": " ".join(["xception", *sys.argv[1:]]),
    }
    refuse_foreign(search.output, "a search")
    if not manifest_path(search.output).exists():
        from xception.recipes.build import build_classifier, build_data, build_model

        for network in search.networks:
            data = build_data(network.recipe)
            build_classifier(network.recipe, data, build_model(network.recipe, data))
    with claiming(search.output) as path:
        if path.exists():
            _require_the_same_search(search, _read_manifest(path), content)
        replace_manifest(path, content)


def _require_the_same_search(
    search: Search, before: dict[str, Any], content: dict[str, Any]
) -> None:
    output = search.output
    for key in ("seed", "span", "sampler"):
        if before.get(key) != content[key]:
            raise InputError(
                f"{output} holds a search with {key} {before.get(key)}, not {content[key]}; "
                "name another directory with --output"
            )
    if list(before["recipes"]) != list(content["recipes"]):
        raise InputError(
            f"{output} holds a search over {', '.join(before['recipes'])}; name these in this "
            "order, or another directory with --output"
        )
    named = {network.name: network for network in search.networks}
    for name, keys in content["recipes"].items():
        asked, defaults = json.loads(json.dumps(keys)), named[name].recipe.defaults()
        refuse_contradictions(before["recipes"][name], asked, output, defaults)
    if before["trials"] > search.trials:
        raise InputError(
            f"{output} holds a search of {before['trials']} trials; give --trials "
            f"{before['trials']} or more"
        )


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); name another directory") from None
    if not isinstance(content, dict) or content.get("kind") != "tuning":
        raise InputError(
            f"{path.parent} holds something else than a search; name another directory with "
            "--output"
        )
    return content
