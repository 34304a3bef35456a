"""Figures 1 to 4: the Inception module and its extreme, drawn from the live modules."""

from typing import Any

from torch import nn

from xception.models.inception_module import (
    CanonicalInceptionModule,
    ExtremeInceptionModule,
    ReformulatedInceptionModule,
    SimplifiedInceptionModule,
)
from xception.paper.drawing import arrow, box, canvas, style, write
from xception.paper.operations import Operation, branches

_MOST_SEGMENTS = 8
_ROW, _HEIGHT, _WIDTH, _GAP = 0.52, 0.26, 0.78, 0.16


def paper_modules() -> dict[str, tuple[str, nn.Module]]:
    """Item to caption and live module, with few channels."""
    return {
        "figure-1": ("A canonical Inception module", CanonicalInceptionModule(24, 8)),
        "figure-2": ("A simplified Inception module", SimplifiedInceptionModule(24, 8, 8)),
        "figure-3": ("Reformulated: one large 1×1", ReformulatedInceptionModule(24, 8, 8)),
        "figure-4": ("An “extreme” Inception module", ExtremeInceptionModule(24, 8)),
    }


def draw_module(module: nn.Module, caption: str) -> Any:
    """Draws an Inception module, input at the bottom, as the paper does.

    Args:
        module: Any of ``xception.models.inception_module``: what it does is read off its graph.
        caption: What stands above.

    Returns:
        A matplotlib figure.
    """
    columns = [
        [step for step in branch if step.kind != "activation"] for branch in branches(module)
    ]
    with style():
        if len(columns) == 1 and any(step.groups > 1 for step in columns[0]):
            return _draw_segments(columns[0], caption)
        return _draw_branches(columns, caption)


def _label(step: Operation) -> str:
    return step.text if step.kind == "pooling" else f"{step.kernel} conv"


def _draw_branches(columns: list[list[Operation]], caption: str) -> Any:
    rows = max(map(len, columns))
    width = len(columns) * (_WIDTH + _GAP) + 0.3
    figure, axes = canvas(width, (rows + 2) * _ROW + 0.3)
    middle, top = width / 2, (rows + 1.5) * _ROW
    write(axes, middle, top + 0.42, caption, size=8, weight="bold")
    box(axes, middle, top, 0.9, _HEIGHT, "Concat")
    box(axes, middle, _ROW / 2, 0.9, _HEIGHT, "Input")
    for i, column in enumerate(columns):
        x = 0.15 + (i + 0.5) * (_WIDTH + _GAP)
        for row, step in enumerate(column):
            y = (row + 1.5) * _ROW
            box(axes, x, y, _WIDTH, _HEIGHT, _label(step), kind=step.kind)
            if row:
                arrow(axes, [(x, y - _ROW + _HEIGHT / 2), (x, y - _HEIGHT / 2)])
        nearer = middle + (x - middle) * 0.25  # where the arrow meets the box of input or concat
        first, last = 1.5 * _ROW - _HEIGHT / 2, (len(column) + 0.5) * _ROW + _HEIGHT / 2
        arrow(axes, [(nearer, _ROW / 2 + _HEIGHT / 2), (x, first)])
        bend = [(x, last)]
        if len(column) < rows:
            bend.append((x, (rows + 0.5) * _ROW + _HEIGHT / 2))
        arrow(axes, [*bend, (nearer, top - _HEIGHT / 2)])
    return figure


def _draw_segments(column: list[Operation], caption: str) -> Any:
    """A 1x1 convolution over all channels, and others on segments of its output."""
    groups = max(step.groups for step in column)
    shown = min(groups, _MOST_SEGMENTS)
    narrow = _WIDTH if shown < 5 else 0.46
    full = shown * narrow + (shown - 1) * 0.1
    width = full + 1.5
    figure, axes = canvas(width, (len(column) + 3) * _ROW + 0.3)
    middle = width / 2 - 0.25
    top = (len(column) + 2.5) * _ROW
    write(axes, width / 2, top + 0.42, caption, size=8, weight="bold")
    box(axes, middle, _ROW / 2, 0.9, _HEIGHT, "Input")
    y, before = _ROW / 2, [middle]
    for step in column:
        if step.groups == 1:
            y += _ROW
            for x in before:
                arrow(axes, [(x, y - _ROW + _HEIGHT / 2), (x, y - _HEIGHT / 2)])
            box(axes, middle, y, full, _HEIGHT, _label(step), kind=step.kind)
            y += _ROW
            before = _draw_channels(axes, middle, y, full, shown)
        else:
            y += _ROW
            size = 7 if narrow > 0.5 else 6
            label = _label(step) if narrow > 0.5 else step.kernel
            for x in before:
                arrow(axes, [(x, y - _ROW + 0.07), (x, y - _HEIGHT / 2)])
                box(axes, x, y, narrow, _HEIGHT, label, kind=step.kind, size=size)
            if narrow <= 0.5 or shown < groups:
                more = f"{step.kernel} conv,\none per" + "\nsegment" * (groups < step.in_channels)
                more = more if groups < step.in_channels else f"{step.kernel} conv,\none each"
                write(axes, middle + full / 2 + 0.08, y, more, ha="left", size=6.5)
    y += _ROW
    for x in before:
        nearer = middle + (x - middle) * 0.25
        arrow(axes, [(x, y - _ROW + _HEIGHT / 2), (nearer, y - _HEIGHT / 2)])
    box(axes, middle, y, max(0.9, full * 0.3), _HEIGHT, "Concat")
    return figure


def _draw_channels(axes: Any, middle: float, y: float, full: float, shown: int) -> list[float]:
    """The output of the 1x1 convolution as a strip in segments; returns their middles."""
    pitch = full / shown
    centres = [middle - full / 2 + (i + 0.5) * pitch for i in range(shown)]
    for i, x in enumerate(centres):
        arrow(axes, [(x, y - _ROW + _HEIGHT / 2), (x, y - 0.07)])
        box(axes, x, y, pitch, 0.14, "", kind="activation" if i % 2 else "plain")
    write(axes, middle + full / 2 + 0.08, y, "output\nchannels", ha="left", size=6.5)
    return centres
