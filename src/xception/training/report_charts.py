"""The curves of a run's report: inline SVG whose colours are the page's."""

import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, float | None]
Points = tuple[list[float], list[float]]

LOG_RATIO = 30  # of the largest to the smallest loss, past which the axis is logarithmic
MOST_POINTS = 600  # of a curve; more are averaged, a page is no archive

# matplotlib writes these colours, the page's own (which know light and dark) take their place
_COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--rule)",
    "#040404": "var(--first)",
    "#050505": "var(--second)",
}
_INK, _MUTED, _RULE, _FIRST, _SECOND = _COLOURS
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _RULE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
}


def points(rows: Sequence[Row], name: str) -> Points:
    """Steps and values of one column of ``metrics.csv``, where it has finite values.

    Long curves are averaged over neighbouring points.

    Example:
        >>> points([{"step": 1.0, "loss": 0.5}, {"step": 2.0, "loss": None}], "loss")
        ([1.0], [0.5])
    """
    pairs = []
    for row in rows:
        step, value = row.get("step"), row.get(name)
        if step is not None and value is not None and math.isfinite(value):
            pairs.append((step, value))
    every = -(-len(pairs) // MOST_POINTS) or 1
    groups = [pairs[start : start + every] for start in range(0, len(pairs), every)]
    return (
        [sum(step for step, _ in group) / len(group) for group in groups],
        [sum(value for _, value in group) / len(group) for group in groups],
    )


def training_charts(rows: Sequence[Row], top_k: int = 5) -> list[tuple[str, str]]:
    """Title and SVG of every curve that the rows of ``metrics.csv`` have values for.

    Args:
        rows: Column name to value; None where the cell is empty.
        top_k: The k that stands in ``validation_top5``: fewer than five with fewer classes.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    charts = []
    for title, label, curves in (
        ("Loss", "nats", [("train_loss", "training"), ("validation_loss", "validation")]),
        (
            "Accuracy on the held-out images",
            "share of the images",
            [("validation_top1", "top-1"), ("validation_top5", f"top-{top_k}")],
        ),
        ("MAP@k on the held-out images", "", [("validation_map", "MAP")]),
        ("Learning rate", "", [("learning_rate", "")]),
    ):
        known = [(points(rows, name), name, text) for name, text in curves]
        known = [curve for curve in known if curve[0][0]]
        if not known:
            continue
        with rc_context(_STYLE):  # type: ignore[arg-type]
            figure = Figure(figsize=(4.4, 2.9), layout="constrained")
            axes = figure.subplots()
            for (steps, values), name, text in known:
                _draw(axes, steps, values, name, text)
            axes.set_xlabel("optimizer step")
            axes.xaxis.set_major_formatter(_steps)
            axes.set_ylabel(label)
            axes.margins(x=0.02)
            if title == "Loss":  # after all curves: limits that are set no longer follow the data
                _scale_loss(axes, [value for (_, values), _, _ in known for value in values])
            if len(known) > 1:
                axes.legend(loc="best")
            charts.append((title, _svg(figure, salt=title)))
    return charts


def _scale_loss(axes: "Axes", losses: list[float]) -> None:
    """From zero; logarithmic where the losses differ so much that the end would lie on the axis."""
    if min(losses) > 0 and max(losses) / min(losses) > LOG_RATIO:
        from matplotlib.ticker import LogLocator, NullFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("nats, logarithmic")
    else:
        axes.set_ylim(bottom=0)


def _steps(step: float, _: object = None) -> str:
    """A tick of the step axis: 5000 as it is, 250000 as 250k."""
    return f"{step / 1000:g}k" if step >= 10_000 else f"{step:g}"


def _draw(axes: "Axes", steps: list[float], values: list[float], name: str, text: str) -> None:
    colour = _SECOND if name.startswith("validation") and name != "validation_top5" else _FIRST
    sparse = len(steps) <= 40 and name.startswith("validation")
    axes.plot(steps, values, color=colour, label=text, marker="o" if sparse else "", markersize=3)
    if name == "validation_top1":
        axes.annotate(
            f"{values[-1]:.1%}",
            (steps[-1], values[-1]),
            xytext=(0, -6),
            textcoords="offset points",
            ha="right",
            va="top",
        )
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _svg(figure: Any, salt: str) -> str:
    """The figure as an element that can stand inside HTML, several of them on one page."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": salt}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
    for written, meant in _COLOURS.items():
        svg = svg.replace(written, meant)
    svg = re.sub(r"(font: [\d.]+px|font-family:) [^;\"]*", r"\1 system-ui, sans-serif", svg)
    prefix = re.sub(r"\W+", "-", salt.lower())
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
