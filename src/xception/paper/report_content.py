"""What the report says, section by section, before it becomes Markdown or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xception.paper.architecture_drawing import draw_architecture, paper_network
from xception.paper.decision import RULE, RULE_MULTI_LABEL
from xception.paper.drawing import save
from xception.paper.items import Item, items
from xception.paper.module_drawing import draw_module, paper_modules
from xception.paper.profile_plot import draw_profiles
from xception.paper.published import statement
from xception.paper.report_tables import claims_table, item_table, spectrum_answer
from xception.paper.results import CellResult, Results
from xception.paper.spectrum_plot import draw_spectrum
from xception.paper.table_text import NOT_RUN, Table, metric_title
from xception.paper.variants import variants

_PROFILES = ("figure-6", "figure-7", "figure-8", "figure-9", "figure-10", "learning-rates")
_STATEMENTS: dict[str, tuple[str, ...]] = {
    "table-1": ("imagenet",),
    "table-2": ("jft", "fully-connected"),
    "table-3": ("size-and-speed",),
    "figure-9": ("residual",),
    "learning-rates": ("residual",),
    "vgg-style": ("vgg-style",),
    "figure-10": ("activation",),
    "order": ("order",),
    "weight-decay": ("weight-decay",),
    "spectrum": ("spectrum", "depth-of-features"),
}
_OWN_DEVIATIONS = {
    "table-1": "VGG-16 and ResNet-152, which the paper cites, are trained at scale imagenet "
    "only, with Xception's recipe and the weight decay of their own papers.",
    "figure-9": "Without residual connections the shortcuts' 1×1 convolutions are gone, and their "
    "parameters with them.",
    "order": "The spatial convolution works on the output channels when it comes second, which "
    "changes the number of parameters a little.",
    "table-2": "MAP is given in percent, as the paper prints it.",
    "vgg-style": "The paper states the depth multiplier and nothing else of this network; its "
    "stages are those of VGG-16, its width is chosen for Inception V3's number of parameters.",
    "table-3": "Both networks are timed in turns, in one process on one device; the paper's "
    "figures are of 60 GPUs together.",
    "spectrum": "The paper has no such experiment; its sections 1.2 and 5 ask for it.",
}
_RUN_SPEEDS = (
    "Speeds (images/s) are those of the training runs, one after the other; other work on the "
    "machine shows in them, and they compare no networks."
)


@dataclass(frozen=True)
class Section:
    """An item's part of the report.

    Attributes:
        name: The item.
        title: Its heading.
        anchor: Where links lead; no two sections of a report have the same.
        paragraphs: Text.
        table: Its numbers.
        figures: Pictures as vectors, with their captions.
    """

    name: str
    title: str
    anchor: str
    paragraphs: list[str] = field(default_factory=list)
    table: Table | None = None
    figures: list[tuple[Path, str]] = field(default_factory=list)


def sections(results: Results, figures: Path, name: str) -> list[Section]:
    """The whole report of one scale: first page, claims, items.

    Args:
        results: What was found.
        figures: Directory that the pictures are written into.
        name: Of these results within the report; files and anchors begin with it.
    """
    title = f"Claims at scale {results.scale.name}"
    return [
        _first_page(results, name),
        Section("claims", title, f"{name}-claims", [], claims_table(results)),
        *(_section(results, item, figures, name) for item in items(results.scale).values()),
    ]


def _first_page(results: Results, name: str) -> Section:
    scale = results.scale
    finished = sum(map(len, results.cells.values()))
    counts = f"{finished} cells are finished"
    if results.failed:
        counts += f", {len(results.failed)} failed"
    if results.begun:
        counts += f", {len(results.begun)} are unfinished"
    changed = results.manifest.get("overrides") or []
    paragraphs = [
        f"How much this can decide: {scale.decides}",
        f"Scale {scale.name}, data set {results.data}{_second_data(results)}. {counts}.",
        *([f"Every recipe was changed by: {' '.join(changed)}"] if changed else []),
        *(
            f"Failed: {variant}, seed {seed}: {reason}"
            for (variant, seed), reason in results.failed.items()
        ),
        f"The rule, written down before the runs: {RULE}"
        + (f"\n{RULE_MULTI_LABEL}" if scale.multi_label else ""),
        "Published numbers stand beside ours for orientation. What was not run says so; no number "
        "is taken over from the paper into ours.",
    ]
    return Section("first", f"Scale {scale.name}: {results.data}", f"{name}-first", paragraphs)


def _second_data(results: Results) -> str:
    """The multi-label task's data, where they are not the scale's own."""
    task = results.scale.multi_label
    if task is None or results.scale.single_label_elsewhere:
        return ""
    return f"; for the multi-label task {task.data}"


def _data(results: Results, item: Item) -> tuple[str, Sequence[str]]:
    """What an item's cells were trained on, and how their runs differ from the paper's."""
    task = results.scale.multi_label
    if item.metric == "top1" or task is None:
        return results.data, results.scale.deviations
    return (task.data if _second_data(results) else results.data), task.deviations


def _section(results: Results, item: Item, figures: Path, name: str) -> Section:
    data, deviations = _data(results, item)
    said = [statement(name) for name in _STATEMENTS.get(item.name, ())]
    paragraphs = [f"The paper ({found.place}): {found.text}." for found in said]
    if item.kind == "absent":
        paragraphs.append(f"Not run: {item.absent}.")
    elif item.kind == "drawing":
        paragraphs.append("Drawn from the live module.")
    elif item.kind == "cells":
        cells = [cell for name in item.variants for cell in results.of(name)]
        paragraphs.append(conditions(data, cells) if cells else _not_run(item, results))
    else:
        paragraphs.append(_speed_conditions(results))
    answer = spectrum_answer(results) if item.name == "spectrum" else None
    if answer:
        paragraphs.append(answer)
    if item.kind == "cells":
        paragraphs.append(f"Deviations from the paper: {'; '.join(deviations)}.")
    if item.name in _OWN_DEVIATIONS:
        paragraphs.append(_OWN_DEVIATIONS[item.name])
    table = item_table(results, item)
    if table and "images/s" in table.heading:
        paragraphs.append(_RUN_SPEEDS)
    elif item.name == "spectrum" and results.spectrum_speed:
        steps = _steps(results.spectrum_speed)
        paragraphs.append(f"Speed of the networks without activation, in turns: {steps}")
    place = item.place[0].upper() + item.place[1:]  # readers look for "Table 1", "Figure 9"
    section = Section(
        item.name,
        f"{place}: {item.title}",
        f"{name}-{item.name}",
        paragraphs,
        table,
    )
    figure = _figure(results, item)
    if figure is not None:
        stem = item.name if item.kind == "drawing" else f"{name}-{item.name}"
        svg, _ = save(figure, figures, stem)
        section.figures.append((svg, _caption(results, item, f"{place}: {item.title}", data)))
    return section


def _caption(results: Results, item: Item, title: str, data: str) -> str:
    if item.kind == "drawing":
        return title
    several = any(len(results.of(variant)) > 1 for variant in item.variants)
    spread = (
        "Mean over seeds, the band or bar is one standard deviation."
        if several
        else "One seed: no spread can be told."
    )
    return f"{title}; {data}. {spread}"


def _not_run(item: Item, results: Results) -> str:
    return f"{NOT_RUN.capitalize()}: `xception reproduce {item.name} --scale {results.scale.name}`."


def conditions(data: str, cells: Sequence[CellResult]) -> str:
    """Data, sizes, epochs, seeds, hardware and versions of some cells, in a paragraph."""

    def among(values: Sequence[Any]) -> str:
        if all(value is None for value in values):
            return "unknown"
        return ", ".join(
            sorted({_number(value) for value in values}, key=lambda text: (len(text), text))
        )

    training = [cell.summary["training"] for cell in cells]
    hardware = [_hardware(cell.summary["hardware"]) for cell in cells]
    versions = [cell.summary["versions"].get("torch") for cell in cells]
    seconds = sum(float(t["seconds"]) for t in training)
    return (
        f"Data: {data}, {among([t['train_images'] for t in training])} training and "
        f"{among([cell.summary['evaluation']['images'] for cell in cells])} held-out images of "
        f"{among([cell.keys['data'].get('image_size') for cell in cells])} pixels. "
        f"Epochs: {among([t['epochs'] for t in training])} "
        f"({among([t['steps'] for t in training])} steps of "
        f"{among([cell.keys['data'].get('batch_size') for cell in cells])} images). "
        f"Seeds: {among([cell.seed for cell in cells])}. Hardware: {among(hardware)}. "
        f"torch {among(versions)}, commit {among([cell.summary.get('commit') for cell in cells])}. "
        f"Training took {seconds:.0f} s in all."
    )


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _speed_conditions(results: Results) -> str:
    if not results.speed:
        return f"{NOT_RUN.capitalize()}: `xception reproduce table-3 --scale {results.scale.name}`."
    speed = results.speed
    sizes = " and ".join(f"{n:,} ({name})" for name, n in speed["measured_parameters"].items())
    return (
        "The parameters are those of the paper's networks. Speed was measured on the scale's "
        f"networks of {sizes} parameters: {_steps(speed)}"
    )


def _steps(speed: dict[str, Any]) -> str:
    """How speed was measured."""
    return (
        f"{speed['rounds']} training steps of {speed['batch_size']} random images of "
        f"{speed['image_size']} pixels on {speed['device']}, {speed.get('precision', 'float32')}, "
        f"without a data loader, median. Hardware: {_hardware(speed['hardware'])}. "
        f"torch {speed['versions'].get('torch')}."
    )


def _hardware(found: dict[str, Any]) -> str:
    if found.get("gpus"):
        return " + ".join(found["gpus"])
    threads = found.get("threads")
    return f"{found.get('processor')}, {threads} thread{'s' * (threads != 1)}"


def _figure(results: Results, item: Item) -> Any:
    if item.name == "figure-5":
        return draw_architecture(paper_network())
    if item.kind == "drawing":
        caption, module = paper_modules()[item.name]
        return draw_module(module, caption)
    if item.name in _PROFILES:
        known = variants(results.scale)
        curves = [(known[name].title, results.of(name)) for name in item.variants]
        return draw_profiles(curves, item.metric, metric_title(results, item.metric))
    return draw_spectrum(results) if item.name == "spectrum" else None
