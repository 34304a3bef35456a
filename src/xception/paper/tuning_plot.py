"""A search as a picture: the figure against learning rate, weight decay and number of trials."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from xception.paper.drawing import COLOURS, DASHES, MARKERS, PAGE_WIDTH_INCHES, style
from xception.paper.trials import TrialResult


def draw_search(results: dict[str, list[TrialResult]], metric: str) -> Any:
    """Draws every finished trial, the recipe's own values filled, failed ones as crosses below.

    Args:
        results: Trials by recipe.
        metric: What the axis calls the figure: "top-1 accuracy" or "MAP@4".

    Returns:
        A matplotlib figure, a page wide; None without a finished trial.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

    figures = [r.figure for each in results.values() for r in each if r.figure is not None]
    if not figures:
        return None
    margin = max(0.08 * (max(figures) - min(figures)), 0.002)
    bottom = min(figures) - margin
    with style():
        figure = Figure(figsize=(PAGE_WIDTH_INCHES, 2.9), layout="constrained")
        rate, decay, budget = figure.subplots(1, 3, sharey=True)
        for i, (name, trials) in enumerate(results.items()):
            for axes, key in ((rate, "learning_rate"), (decay, "weight_decay")):
                _scatter(axes, trials, key, i, name, bottom)
            best = _best_so_far(trials)
            steps = range(1, len(best) + 1)
            known = [(x, y) for x, y in zip(steps, best, strict=True) if y > 0]
            budget.plot(
                *zip(*known, strict=True) if known else ((), ()),
                color=COLOURS[i % len(COLOURS)],
                linestyle=DASHES[i % len(DASHES)],
                marker=MARKERS[i % len(MARKERS)],
                markersize=3.5,
                linewidth=1.2,
                drawstyle="steps-post",
            )
        for axes, label in ((rate, "learning rate"), (decay, "weight decay")):
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())  # they would cover one another
            axes.set_xlabel(f"{label} (log scale)")
        budget.set_xlabel("trials")
        budget.xaxis.set_major_locator(MaxNLocator(integer=True))
        rate.set_ylabel(f"{metric}, validation images")
        budget.set_ylabel("best so far")
        rate.set_ylim(bottom - margin, max(figures) + margin)
        rate.yaxis.set_major_formatter(PercentFormatter(1.0))
        handles, labels = rate.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=7)
    return figure


def _scatter(
    axes: Any, trials: Sequence[TrialResult], key: str, i: int, name: str, bottom: float
) -> None:
    colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
    finished = [r for r in trials if r.figure is not None]
    axes.scatter(
        [r.values[key] for r in finished],
        [r.figure for r in finished],
        s=22,
        marker=marker,
        edgecolors=colour,
        facecolors=[colour if r.number == 0 else "none" for r in finished],
        linewidths=1.1,
        label=f"{name} (filled: its own values)",
    )
    failed = [r.values[key] for r in trials if r.state == "failed"]
    if failed:
        axes.scatter(failed, [bottom] * len(failed), s=22, marker="x", c=colour, linewidths=1.1)


def _best_so_far(trials: Sequence[TrialResult]) -> list[float]:
    """The best figure after each trial that has ended; 0 before the first that finished."""
    ended = [r.figure or 0.0 for r in trials if r.state != "running"]
    return list(accumulate(ended, max))
