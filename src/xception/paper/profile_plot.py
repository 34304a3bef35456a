"""Figures 6 to 10: accuracy or MAP over the course of training, mean and spread over seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xception.paper.drawing import COLOURS, COLUMN_WIDTH_INCHES, DASHES, MARKERS, style
from xception.paper.results import CellResult


def profile(cells: Sequence[CellResult], name: str = "validation_top1") -> Any:
    """A curve for each seed on the steps that all have.

    Args:
        cells: Of one variant.
        name: A column of ``metrics.csv``.

    Returns:
        Steps (S,) and values (seeds, S).
    """
    curves = []
    for cell in cells:
        rows = [row for row in cell.profile if row.get(name) is not None]
        curves.append({float(row["step"] or 0): float(row[name] or 0) for row in rows})
    common = sorted(set.intersection(*map(set, curves))) if curves else []
    values = np.array([[curve[step] for step in common] for curve in curves])
    return np.array(common), values


def draw_profiles(
    variants: Sequence[tuple[str, Sequence[CellResult]]],
    metric: str = "top1",
    title: str = "top-1",
) -> Any:
    """Draws the accuracy or MAP on held-out images against the training step.

    Args:
        variants: Title and finished cells; those without a cell are left out.
        metric: "top1" or "map".
        title: What the axis calls it.

    Returns:
        A matplotlib figure, a column wide; None with fewer than two curves to compare.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    column = f"validation_{metric}"
    known = [(name, *profile(cells, column), len(cells)) for name, cells in variants if cells]
    known = [curve for curve in known if len(curve[1])]
    if len(known) < 2:
        return None
    with style():
        figure = Figure(
            figsize=(COLUMN_WIDTH_INCHES * 1.35, 2.8 + 0.15 * len(known)), layout="constrained"
        )
        axes = figure.subplots()
        for i, (name, steps, values, seeds) in enumerate(known):
            mean = values.mean(0)
            many = seeds > 1
            label = f"{name} ({seeds} seed{'s' * many})"
            axes.plot(
                steps,
                mean,
                color=COLOURS[i],
                linestyle=DASHES[i],
                marker=MARKERS[i],
                markersize=3,
                markevery=max(1, len(steps) // 12),
                linewidth=1.3,
                label=label,
            )
            if many:
                deviation = values.std(0, ddof=1)
                axes.fill_between(
                    steps, mean - deviation, mean + deviation, color=COLOURS[i], alpha=0.18, lw=0
                )
        axes.set_xlabel("training step (batches)")
        axes.set_ylabel(f"{title}{' accuracy' if metric == 'top1' else ''}, held-out images")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        # Outside: curves that stay low would lie behind it.
        figure.legend(loc="outside upper center", ncols=2 if len(known) == 2 else 1, fontsize=7)
    return figure
