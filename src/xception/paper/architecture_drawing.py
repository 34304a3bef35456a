"""Figure 5: the architecture, drawn from a live Xception, with shapes and parameters."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from xception.inference.cost import LayerCost, measure_model_cost
from xception.models.xception import Xception
from xception.paper.drawing import INK, PAGE_WIDTH_INCHES, arrow, box, canvas, style, write
from xception.paper.operations import Operation, residual_paths, steps

_ROW, _HEIGHT, _SLIM = 0.295, 0.19, 0.13
_MAIN, _SHORTCUT, _ASIDE = 1.36, 0.52, 0.14
_COLUMN = PAGE_WIDTH_INCHES / 3


def paper_network() -> Xception:
    """The network of figure 5, without memory for its weights."""
    with torch.device("meta"):
        return Xception()


@dataclass(frozen=True)
class DrawnModule:
    """A part of a flow.

    Attributes:
        main: Its operations, top to bottom.
        shortcut: Beside them; None without one, empty for the identity.
        note: Shape and parameters, written below on either side.
        repeats: How often it comes, one after the other.
    """

    main: list[Operation]
    shortcut: list[Operation] | None
    note: tuple[str, str]
    repeats: int = 1


def draw_architecture(model: Xception, image_size: int = 299) -> Any:
    """Draws an Xception, flow by flow.

    Args:
        model: On any device: what it does is read off its graph and its layers.
        image_size: Height and width of the image, pixels.

    Returns:
        A matplotlib figure, as wide as a page.
    """
    cost = measure_model_cost(
        model, image_size, architecture=model.architecture, arguments=model.arguments
    )
    costs = {layer.name: layer for layer in cost.layers}
    flows = [
        ("Entry flow", _flow(model.entry_flow, "entry_flow", costs), ["entry_flow"]),
        ("Middle flow", _middle(model.middle_flow, costs), ["middle_flow"]),
        (
            "Exit flow",
            [*_flow(model.exit_flow, "exit_flow", costs), *_flow(model.head, "head", costs)],
            ["exit_flow", "head"],
        ),
    ]
    side = f"{image_size}×{image_size}"
    starts = [f"{side}×{model.in_channels} images", "from the entry flow", "from the middle flow"]
    tallest = max(_height(parts) for _, parts, _ in flows)
    height = tallest + 0.98
    with style():
        figure, axes = canvas(PAGE_WIDTH_INCHES, height)
        for i, ((title, parts, names), start) in enumerate(zip(flows, starts, strict=True)):
            x = (i + 0.5) * _COLUMN + 0.12
            main_x = x + _ASIDE
            flow_parameters = sum(costs[name].parameters for name in names)
            write(axes, main_x, height - 0.17, title, size=9, weight="bold")
            write(axes, main_x, height - 0.34, f"{flow_parameters:,} parameters", size=7)
            write(axes, main_x, height - 0.6, start, style="italic")
            _draw_flow(axes, x, height - 0.68, parts)
            if i:
                axes.plot([i * _COLUMN] * 2, [0.25, height - 0.1], color="#cccccc", lw=0.6)
        write(
            axes,
            PAGE_WIDTH_INCHES / 2,
            0.1,
            f"{cost.total.parameters:,} parameters (par.), {cost.total.multiply_adds / 1e6:,.0f} "
            "million multiply-adds per image; shapes: height × width × channels; BatchNorm follows "
            "every convolution",
            size=6.5,
        )
    return figure


def _note(layer: LayerCost) -> tuple[str, str]:
    shape = layer.output_shape or ()
    channels, *sides = shape
    text = "×".join(str(n) for n in [*sides, channels])
    return text, f"{layer.parameters:,} par."


def _flow(flow: nn.Module, name: str, costs: dict[str, LayerCost]) -> list[DrawnModule]:
    """The modules of a flow; what stands outside of them in runs, noted at the last layer."""
    parts: list[DrawnModule] = []
    run: list[Operation] = []
    for step in steps(flow):
        if isinstance(step, str):
            if run:
                parts.append(DrawnModule(run, None, _note_of_run(name, run, costs)))
                run = []
            main, shortcut = residual_paths(flow.get_submodule(step))
            parts.append(DrawnModule(main, shortcut, _note(costs[f"{name}.{step}"])))
        else:
            run.append(step)
    if run:
        parts.append(DrawnModule(run, None, _note_of_run(name, run, costs)))
    return parts


def _note_of_run(name: str, run: list[Operation], costs: dict[str, LayerCost]) -> tuple[str, str]:
    """Shape after a run of single layers, and their parameters."""
    if name == "head":
        return _note(costs["head"])
    singles = [
        layer
        for key, layer in costs.items()
        if key.startswith(f"{name}.") and key.count(".") == 1 and ".module" not in key
    ]
    last = singles[-1]
    total = sum(layer.parameters for layer in singles)
    return _note(LayerCost(last.name, last.kind, last.output_shape, total, 0))


def _middle(flow: nn.Module, costs: dict[str, LayerCost]) -> list[DrawnModule]:
    """The middle flow; like neighbours are drawn once."""
    parts: list[DrawnModule] = []
    for name, module in flow.named_children():
        part = DrawnModule(*residual_paths(module), _note(costs[f"middle_flow.{name}"]))
        last = parts[-1] if parts else None
        if last and (last.main, last.shortcut) == (part.main, part.shortcut):
            parts[-1] = DrawnModule(last.main, last.shortcut, last.note, last.repeats + 1)
        else:
            parts.append(part)
    return parts


def _step_height(step: Operation) -> float:
    return _ROW - (0.06 if step.kind == "activation" else 0)


def _part_height(part: DrawnModule) -> float:
    height = sum(map(_step_height, part.main)) + 0.26
    return height + (0.25 if part.shortcut is not None else 0) + (0.2 if part.repeats > 1 else 0)


def _height(parts: list[DrawnModule]) -> float:
    return sum(map(_part_height, parts))


def _draw_flow(axes: Any, x: float, top: float, parts: list[DrawnModule]) -> None:
    y = top
    for part in parts:
        y = _draw_part(axes, x, y, part)


def _draw_part(axes: Any, x: float, top: float, part: DrawnModule) -> float:
    """Draws a module from ``top`` downwards; returns where the next one begins."""
    main_x, side_x = x + _ASIDE, x - 0.86
    bottom_of_last, y = top, top
    for step in part.main:
        slim = step.kind == "activation"
        height = _SLIM if slim else _HEIGHT
        y -= _step_height(step)
        centre = y + height / 2
        arrow(axes, [(main_x, bottom_of_last), (main_x, centre + height / 2)])
        width = 0.7 if slim else _MAIN
        size = 6 if slim else 6.5
        box(axes, main_x, centre, width, height, step.text, kind=step.kind, size=size)
        bottom_of_last = centre - height / 2
    if part.shortcut is not None:
        y -= 0.25
        plus = y + 0.08
        fork = top - 0.035
        arrow(axes, [(main_x, bottom_of_last), (main_x, plus + 0.07)])
        arrow(axes, [(main_x, fork), (side_x, fork), (side_x, plus), (main_x - 0.08, plus)])
        axes.text(
            main_x,
            plus,
            "+",
            ha="center",
            va="center",
            size=7,
            bbox={"boxstyle": "circle,pad=0.1", "fc": "white", "ec": "#222222", "lw": 0.7},
        )
        for step in part.shortcut:
            text = step.text.replace(", ", "\n")
            box(axes, side_x, (top + plus) / 2, _SHORTCUT, 0.42, text, kind=step.kind, size=6)
        bottom_of_last = plus - 0.08
    shape, parameters = part.note
    write(axes, main_x - 0.06, bottom_of_last - 0.1, shape, size=6, ha="right")
    write(axes, main_x + 0.06, bottom_of_last - 0.1, parameters, size=6, ha="left")
    y -= 0.26
    line = {"color": INK, "lw": 0.8, "zorder": 1}
    axes.plot([main_x, main_x], [bottom_of_last, y], **line)
    if part.repeats > 1:
        text = f"{part.repeats} times, one after the other"
        write(axes, main_x, y - 0.1, text, size=7, weight="bold")
        y -= 0.2
    return y
