"""``xception inspect MODEL|RECIPE``: layers, output shapes, parameters, multiply-adds, memory."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xception.cli.parsing import new_parser, parse

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from xception.inference.cost import LayerCost, ModelCost

SUMMARY = "a model's layers, shapes, parameters, cost"

DESCRIPTION = """\
Shows what a model consists of and what one image costs: the layers in the paper's flows, their
output shapes, parameters, multiply-adds (of convolutions and dense layers) and the memory of their
outputs. Nothing is trained, downloaded or computed."""

FLOAT_BYTES = 4


def main(arguments: Sequence[str]) -> int:
    """Runs the verb."""
    options = _parse(arguments)

    from xception.cli.described_model import describe_model
    from xception.inference.cost import measure_cost

    described = describe_model(options.model)
    size = described.image_size if options.image_size is None else options.image_size
    cost = measure_cost(described.architecture, described.arguments, size)
    if options.json:
        print(json.dumps(as_primitives(cost, options.depth), indent=2))
    else:
        _show(cost, options.depth, described.note)
    return 0


def as_primitives(cost: "ModelCost", depth: int) -> dict[str, Any]:
    """The cost for a program: totals, and the layers at a depth."""
    return {
        "architecture": cost.architecture,
        "arguments": cost.arguments,
        "image_shape": list(cost.image_shape),
        "parameters": cost.total.parameters,
        "buffers": cost.total.buffers,
        "multiply_adds": cost.total.multiply_adds,
        "parameter_bytes": FLOAT_BYTES * cost.total.parameters,
        "activation_bytes": FLOAT_BYTES * cost.total.activations,
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "output_shape": layer.output_shape and list(layer.output_shape),
                "parameters": layer.parameters,
                "multiply_adds": layer.multiply_adds,
                "activation_bytes": FLOAT_BYTES * layer.activations,
            }
            for layer in cost.at_depth(depth)
        ],
    }


def _show(cost: "ModelCost", depth: int, note: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    flows = {layer.name: layer for layer in cost.at_depth(1)}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", no_wrap=True)
    table.add_column("kind", overflow="ellipsis")  # the one that gives way on a narrow terminal
    for title in ("output", "parameters", "mult-adds (M)", "outputs (MB)"):
        table.add_column(title, justify="right", no_wrap=True)
    flow = ""
    for layer in cost.at_depth(depth):
        begins = layer.name.partition(".")[0]
        if begins != flow and begins in flows and depth != 1 and begins != layer.name:
            if flow:
                table.add_row()
            table.add_row(*_cells(flows[begins], begins.replace("_", " "), ""), style="bold")
        flow = begins
        indent = "  " if begins != layer.name else ""
        name = layer.name.removeprefix(f"{begins}.") if indent else layer.name
        table.add_row(*_cells(layer, indent + name, layer.kind))
    table.add_row()
    table.add_row(*_cells(cost.total, "total", ""), style="bold")
    total = cost.total
    channels, height, width = cost.image_shape
    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console.width = max(console.width, 100)
    console.print(Text(f"{cost.architecture}, image {channels}×{height}×{width}", style="bold"))
    if note:
        console.print(Text(note))
    console.print()
    console.print(table)
    console.print(
        f"\n{total.parameters:,} trainable parameters and {total.buffers:,} other numbers\n"
        f"{total.multiply_adds / 1e9:.3f} billion multiply-adds for one image\n"
        f"{_megabytes(total.parameters)} MB of parameters, "
        f"{_megabytes(total.activations)} MB of outputs for one image, in float32",
        highlight=False,
    )


def _cells(layer: "LayerCost", name: str, kind: str) -> list[str]:
    shape = "×".join(map(str, layer.output_shape)) if layer.output_shape else ""
    work = f"{layer.multiply_adds / 1e6:,.1f}" if layer.multiply_adds else ""
    count = f"{layer.parameters:,}" if layer.parameters else ""
    memory = _megabytes(layer.activations) if layer.activations else ""
    return [name, kind, shape, count, work, memory]


def _megabytes(numbers: int) -> str:
    return f"{FLOAT_BYTES * numbers / 1e6:,.2f}"


def _parse(arguments: Sequence[str]) -> "Namespace":
    parser = new_parser("inspect", DESCRIPTION)
    add = parser.add_argument
    add(
        "model",
        type=str,
        help="Run directory, checkpoint, weights file, recipe (name or file), or architecture.",
    )
    add(
        "--image-size",
        type=int | None,
        help="Height and width, pixels; by default what the model was made for, else 299.",
    )
    add(
        "--depth",
        type=int,
        default=2,
        help="How deep to look: 1 the flows, 2 their modules (figure 5), 0 every single layer.",
    )
    add("--json", action="store_true", help="Print JSON.")
    return parse(parser, arguments)
