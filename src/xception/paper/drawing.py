"""Boxes, arrows and files: what all pictures share. Colours are safe for the colour-blind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Okabe and Ito's palette; every curve has its own line style and marker, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 2, 1, 2)), "-", "-", "-")
FILLS = {
    "convolution": "#cfe3f2",
    "separable": "#fbe3c0",
    "pooling": "#cdebdf",
    "activation": "#f0f0f0",
    "dense": "#ecd5e3",
    "plain": "#ffffff",
}
INK = "#222222"
PAGE_WIDTH_INCHES = 6.9
COLUMN_WIDTH_INCHES = 3.4
_DOTS_PER_INCH = 220
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "xception",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.framealpha": 0.9,  # lines of the grid don't cross its text
    "legend.edgecolor": "none",
    "legend.fancybox": False,
    "figure.facecolor": "white",
}


@contextmanager
def style() -> Iterator[None]:
    """The settings of every picture."""
    from matplotlib import rc_context

    with rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def save(figure: Any, directory: Path, name: str) -> list[Path]:
    """Writes a picture as vectors and as pixels.

    Args:
        figure: A matplotlib figure, made inside ``style()``.
        directory: Where to; made if absent.
        name: The files' name without an ending.

    Returns:
        The SVG and the PNG file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{name}.svg", directory / f"{name}.png"]
    with style():
        figure.savefig(paths[0], metadata={"Date": None})
        figure.savefig(paths[1], dpi=_DOTS_PER_INCH)
    return paths


def canvas(width: float, height: float) -> tuple[Any, Any]:
    """A figure with one unit of its coordinates to the inch, y upwards, and no axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def box(
    axes: Any,
    x: float,
    y: float,
    width: float,
    height: float,
    text: str,
    *,
    kind: str = "plain",
    size: float = 7,
) -> None:
    """Draws a labelled box.

    Args:
        axes: From ``canvas``.
        x: Centre, inches.
        y: Centre, inches.
        width: Inches.
        height: Inches.
        text: Its label.
        kind: A key of ``FILLS``.
        size: Of the label, points.
    """
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (x - width / 2, y - height / 2), width, height, fc=FILLS[kind], ec=INK, lw=0.7, zorder=2
        )
    )
    axes.text(x, y, text, ha="center", va="center", size=size, color=INK, zorder=3)


def arrow(axes: Any, points: list[tuple[float, float]]) -> None:
    """Draws a line through points (inches), with a head at the last one."""
    *rest, before, last = points
    line = [*rest, before]
    if len(line) > 1:
        axes.plot(*zip(*line, strict=True), color=INK, lw=0.8, zorder=1)
    axes.annotate(
        "",
        last,
        before,
        arrowprops={
            "arrowstyle": "-|>,head_length=0.25,head_width=0.12",
            "color": INK,
            "lw": 0.8,
            "shrinkA": 0,
            "shrinkB": 0,
        },
        zorder=1,
    )


def write(axes: Any, x: float, y: float, text: str, **options: Any) -> None:
    """Writes text, centred unless told otherwise."""
    settings = {"ha": "center", "va": "center", "size": 7, "color": INK} | options
    axes.text(x, y, text, **settings)
