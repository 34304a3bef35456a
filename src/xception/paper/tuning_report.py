"""What a search found: trials.csv, best-<recipe>.yaml, the picture, and report.md."""

import csv
import math
from pathlib import Path

from xception.errors import count_of
from xception.paper.drawing import save
from xception.paper.search import KEYS
from xception.paper.trials import Network, TrialResult, write_best_recipe
from xception.paper.tuning_plan import Search
from xception.paper.tuning_plot import draw_search
from xception.training.environment import hardware, versions

_COLUMNS = ("recipe", "trial", *KEYS, "state", "figure", "validation_images", "steps", "reason")


def write_tuning_report(search: Search, results: dict[str, list[TrialResult]]) -> Path:
    """Writes all of it into the search's directory.

    Args:
        search: What was to be done.
        results: Trials by recipe.

    Returns:
        ``report.md``.
    """
    output = search.output
    _write_csv(output / "trials.csv", results)
    for network in search.networks:
        best = best_trial(results[network.name])
        if best is not None:
            write_best_recipe(network, best, output)
    figure = draw_search(results, metric_name(search))
    if figure is not None:
        save(figure, output, "search")
    page = output / "report.md"
    page.write_text(_text(search, results, with_figure=figure is not None), encoding="utf-8")
    return page


def best_trial(trials: list[TrialResult]) -> TrialResult | None:
    """The finished trial with the highest figure, the earliest of equals; None without any."""
    finished = [trial for trial in trials if trial.figure is not None]
    return max(finished, key=lambda trial: (trial.figure, -trial.number), default=None)


def metric_name(search: Search) -> str:
    """What the trials are compared by."""
    keys = search.networks[0].recipe.keys
    several = keys["loss"]["name"] == "sigmoid"
    return f"MAP@{keys['map']['k']}" if several else "top-1 accuracy"


def _write_csv(path: Path, results: dict[str, list[TrialResult]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for trials in results.values():
            for r in trials:
                values = [r.values[key] for key in KEYS]
                figure = "" if r.figure is None else f"{r.figure:.6f}"
                row = [r.recipe, r.number, *values, r.state, figure, r.images, r.steps, r.reason]
                writer.writerow("" if value is None else value for value in row)


def _text(search: Search, results: dict[str, list[TrialResult]], *, with_figure: bool) -> str:
    space, metric = search.space, metric_name(search)
    keys = search.networks[0].recipe.keys
    fraction = keys["data"]["tuning_fraction"]
    ended = {name: sum(r.state != "running" for r in each) for name, each in results.items()}
    lines = [
        "# A search of equal budget over learning rate and weight decay",
        "",
        f"{metric} on validation images: {fraction:.0%} of the training images of "
        f"{keys['data']['name']}, held out by seed {space.seed}. The test images were not opened. "
        f"Every recipe: {count_of(search.trials, 'trial')}, {_length(keys)} each, batch "
        f"{keys['data']['batch_size']}, factors from 1/{space.span:g} to {space.span:g} on its own "
        f"values (log-uniform, {space.sampler}, seed {space.seed}); trial 0 has its own values; no "
        "trial is ended early.",
        "",
    ]
    if len(set(ended.values())) > 1 or any(n < search.trials for n in ended.values()):
        told = ", ".join(f"{name} {n}" for name, n in ended.items())
        lines += [f"**The search is not complete: trials that have ended: {told}.**", ""]
    lines += [
        "| recipe | trials | failed | own learning rate | own weight decay | with its own values | "
        "best learning rate | best weight decay | best | its trial |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(_row(network, results[network.name]) for network in search.networks),
        "",
    ]
    lines += _comparison(search, results, metric)
    if with_figure:
        lines += ["![Every trial](search.png)", ""]
    lines += [_NOTE, "", "## Go on", "", "```sh"]
    lines += [
        f"xception train {search.output / f'best-{network.name}.yaml'} --output runs/best-"
        f"{network.name}"
        for network in search.networks
        if best_trial(results[network.name]) is not None
    ]
    machine = hardware()
    lines += [
        "```",
        "",
        f"Hardware: {machine['processor']}, {count_of(int(machine['threads']), 'thread')}"
        + "".join(f", {gpu}" for gpu in machine["gpus"])
        + ". Versions: "
        + ", ".join(f"{name} {version}" for name, version in versions().items())
        + ". Every trial: `trials.csv`, and its run directory in `trials/`.",
        "",
    ]
    return "\n".join(lines)


_NOTE = (
    "What this decides and what not: the figures are the best of several trials on the images by "
    "which they were chosen, so they are too high; with one seed a trial's figure moves by chance, "
    "and the best of more trials is higher by chance alone, which is why all recipes get the same "
    "number. Values are best for these epochs, and longer training may want others. A difference "
    "between networks counts when the best recipes are trained with several seeds and compared on "
    "the test images. Where these are a share of the same folder (data.validation_fraction), keep "
    "the seed: another one would hold out other test images, and some were trained on here."
)


def _length(keys: dict[str, dict[str, object]]) -> str:
    trainer = keys["trainer"]
    parts = []
    if trainer.get("max_epochs") not in (None, -1):
        parts.append(f"{trainer['max_epochs']} epochs")
    if trainer.get("max_steps") not in (None, -1):
        parts.append(f"at most {trainer['max_steps']} steps")
    return ", ".join(parts)


def _row(network: Network, trials: list[TrialResult]) -> str:
    best = best_trial(trials)
    failed = sum(r.state == "failed" for r in trials)
    own = next((r for r in trials if r.number == 0), None)
    found = ["–"] * 4
    if best is not None:
        found = [f"{best.values[key]:g}" for key in KEYS]
        found += [f"{best.figure:.4f}", str(best.number)]
    cells = [
        network.name,
        str(len(trials)),
        str(failed),
        *(f"{network.own(key):g}" for key in KEYS),
        "–" if own is None or own.figure is None else f"{own.figure:.4f}",
        *found,
    ]
    return f"| {' | '.join(cells)} |"


def _comparison(search: Search, results: dict[str, list[TrialResult]], metric: str) -> list[str]:
    """A line for each network beside the first, at equal budget."""
    best = {network.name: best_trial(results[network.name]) for network in search.networks}
    first = search.networks[0].name
    lines = []
    for name, other in list(best.items())[1:]:
        ours = best[first]
        if ours is None or other is None or ours.figure is None or other.figure is None:
            continue
        points = (ours.figure - other.figure) * 100
        line = f"- Best against best at equal budget: {first} − {name} = {points:+.2f} points"
        own, theirs = results[first][0].figure, results[name][0].figure
        if own is not None and theirs is not None:
            line += f"; with the recipes' own values {(own - theirs) * 100:+.2f}"
        if metric.startswith("top") and ours.images:
            errors = [f * (1 - f) / ours.images for f in (ours.figure, other.figure)]
            line += (
                f". One standard error of a difference of two such shares of {ours.images:,} "
                f"images is {100 * math.sqrt(sum(errors)):.2f} points (as if drawn independently)"
            )
        lines.append(line + ".")
    return [*lines, ""] if lines else []
