"""The kernel benchmark's figures as a picture: images per second, and every kernel to its floor."""

from pathlib import Path
from typing import Any


def draw(figures: dict[str, Any], device: str, path: Path) -> None:
    """Draws a panel of bars for each table that was measured.

    Args:
        figures: Those of the record; what has rows with ``milliseconds`` is drawn.
        device: For the title.
        path: ``.svg``, ``.png`` or ``.pdf``.
    """
    from matplotlib.figure import Figure

    tables = {
        title: [row for row in rows if _ran(row)]
        for title, rows in figures.items()
        if isinstance(rows, list)
    }
    tables = {title: rows for title, rows in tables.items() if rows}
    heights = [0.6 + 0.22 * len(rows) for rows in tables.values()]
    figure = Figure(figsize=(9, 0.8 + sum(heights)), layout="constrained")
    panels = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, rows) in zip(panels, tables.items(), strict=True):
        kernels = title.startswith("kernels")
        names = [row["name"] for row in rows]
        if kernels:
            values = [row["floor_milliseconds"] / row["milliseconds"] for row in rows]
            axes.set_xlabel("floor over time (1: as fast as memory or matrix units allow)")
            axes.axvline(1.0, color="black", linewidth=0.8)
        else:
            values = [row["images_per_second"] for row in rows]
            axes.set_xlabel("images per second, by the median")
        colors = ["C0" if name.startswith("ours, fused") else "C7" for name in names]
        axes.barh(range(len(rows)), values, color="C0" if kernels else colors)
        axes.set_yticks(range(len(rows)), names, fontsize=7)
        axes.invert_yaxis()
        axes.set_title(title)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(device)
    figure.savefig(path, dpi=150)


def _ran(row: dict[str, Any]) -> bool:
    return bool(row.get("milliseconds")) and not row["failure"]
