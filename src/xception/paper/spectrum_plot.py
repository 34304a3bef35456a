"""The question of section 5: accuracy and speed between regular and depthwise convolution."""

from collections.abc import Sequence
from typing import Any

from xception.paper.drawing import COLOURS, DASHES, MARKERS, PAGE_WIDTH_INCHES, style
from xception.paper.results import Results
from xception.paper.statistics import spread
from xception.paper.variants import Segments, activation_title, continuum_points, point

Points = list[tuple[Segments, float, float | None]]


def spectrum_points(results: Results, activation: str, name: str) -> Points:
    """Segments, mean and deviation at every point that was run.

    Args:
        results: The finished cells.
        activation: "none", "relu" or "elu".
        name: "top1", or "images_per_second" of training: measured in turns, without activation,
            where that was done, else of the training runs.
    """
    points: Points = []
    for segments in continuum_points(results.scale):
        variant = point(segments, activation)
        if name == "images_per_second" and results.spectrum_speed:
            measured = results.spectrum_speed[name]
            values = [float(measured[variant])] if variant in measured else []
        elif name == "images_per_second":
            values = [float(c.summary["training"][name]) for c in results.of(variant)]
        else:
            values = results.values(variant, name)
        if values:
            found = spread(values)
            points.append((segments, found.mean, found.deviation))
    return points


def draw_spectrum(results: Results) -> Any:
    """Draws accuracy and training speed against the number of segments.

    Returns:
        A matplotlib figure, a page wide; None with fewer than two points.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    places = {segments: i for i, segments in enumerate(continuum_points(results.scale))}
    activations = ("none", *results.scale.activations)
    if sum(len(spectrum_points(results, activation, "top1")) for activation in activations) < 2:
        return None
    with style():
        figure = Figure(figsize=(PAGE_WIDTH_INCHES, 3.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        for i, activation in enumerate(activations):
            for axes, name in ((left, "top1"), (right, "images_per_second")):
                points = spectrum_points(results, activation, name)
                if len(points) > 1 or (points and name == "top1"):
                    _draw_points(axes, points, places, i, activation_title(activation))
        for axes in (left, right):
            axes.set_xticks(list(places.values()), [str(key) for key in places])
            axes.set_xlim(-0.4, len(places) - 0.6)
            axes.set_xlabel("segments of the channels (equal parameters)")
        left.set_ylabel("top-1 accuracy, held-out images")
        left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        right.set_ylabel("training speed, images/s")
        right.set_ylim(bottom=0)
        figure.legend(
            *left.get_legend_handles_labels(),
            loc="outside upper center",  # error bars reach everywhere inside
            ncols=len(activations),
            title="intermediate activation",
            fontsize=7,
            title_fontsize=7,
        )
    return figure


def _draw_points(
    axes: Any, points: Points, places: dict[Segments, int], i: int, label: str
) -> None:
    shift = (i - 1) * 0.07  # so that error bars don't cover one another
    xs: Sequence[float] = [places[segments] + shift for segments, _, _ in points]
    axes.errorbar(
        xs,
        [mean for _, mean, _ in points],
        yerr=[deviation or 0 for _, _, deviation in points],
        color=COLOURS[i],
        linestyle=DASHES[i],
        marker=MARKERS[i],
        markersize=4,
        linewidth=1.2,
        capsize=2,
        label=label,
    )
