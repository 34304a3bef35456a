"""A race's figures as a Markdown table, a result file and a picture."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xception.benchmark.figures import Row
from xception.benchmark.machine import Machine
from xception.benchmark.work import Work
from xception.errors import InputError

HEADINGS = (
    "network, mode",
    "parameters",
    "ms",
    "quartiles",
    "images/s",
    "peak GiB",
    "of copy",
    "of matrix rate",
    "ratio",
)


def cells(row: Row) -> list[str]:
    """One row for a table, in the order of ``HEADINGS``; a failure stands in the second cell."""
    name = f"{row.model}, {row.mode}"
    if row.failure or row.quartiles is None:
        return [name, row.failure, *[""] * (len(HEADINGS) - 2)]
    low, high = row.quartiles
    return [
        name,
        f"{row.parameters:,}",
        f"{row.milliseconds:,.1f}",
        f"{low:,.1f}–{high:,.1f}",
        f"{row.images_per_second:,.2f}",
        f"{row.peak_gib:.2f}",
        "" if row.of_copy is None else f"{row.of_copy:.0%}",
        "" if row.of_matrix is None else f"{row.of_matrix:.0%}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
    ]


def conditions_sentence(work: Work, machine: Machine, rounds: int) -> str:
    """What was measured, in one paragraph."""
    what = {
        "train": "training step (forward, cross-entropy, backward, SGD: momentum, weight decay)",
        "infer": "inference (logits in evaluation mode)",
    }[work.kind]
    return (
        f"One {what}: batch {work.batch_size}, {work.image_size}x{work.image_size}, "
        f"{work.dtype}, {work.threads} threads, {work.device}; median and quartiles of {rounds} "
        "interleaved rounds in seeded random order. Measured in the same run: copy "
        f"{machine.bytes_per_second / 1e9:.1f} GB/s, matrix product "
        f'{machine.flop_per_second / 1e9:.0f} GFLOP/s. "Of copy" divides an estimate of the '
        "traffic by the first (every operator reads and writes its tensors once; compiled code "
        'moves less), "of matrix rate" the counted operations by the second. The ratio is the '
        "speed over the first row's."
    )


def markdown(rows: Sequence[Row], work: Work, machine: Machine, conditions: dict[str, Any]) -> str:
    """The result file's text: conditions, table, command."""
    lines = [
        f"# {'Training' if work.kind == 'train' else 'Inference'} on {conditions['hardware_name']}",
        "",
        conditions_sentence(work, machine, conditions["rounds"]),
        "",
        f"| {' | '.join(HEADINGS)} |",
        f"|{' --- |' * len(HEADINGS)}",
        *(f"| {' | '.join(cells(row))} |" for row in rows),
        "",
        f"{conditions['date']}; {', '.join(f'{k} {v}' for k, v in conditions['versions'].items())}",
        "",
        f"    {conditions['command']}",
    ]
    return "\n".join(lines) + "\n"


def result_path(folder: Path, work: Work, conditions: dict[str, Any]) -> Path:
    """``<what>-<device>-<dtype>-<hardware>-<date>.md`` in a folder."""
    hardware = re.sub(r"[^a-z0-9]+", "-", conditions["hardware_name"].lower()).strip("-")
    what = f"{work.kind}-{work.device}-{work.dtype}"
    return folder / f"{what}-{hardware}-{conditions['date']}.md"


def draw(rows: Sequence[Row], work: Work, path: Path) -> None:
    """Draws images per second as bars, with the quartiles.

    Args:
        rows: Those that ran are drawn.
        work: For the title.
        path: ``.svg``, ``.png`` or ``.pdf``.
    """
    from matplotlib.figure import Figure

    ran = [row for row in rows if row.quartiles is not None]
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(ran)), layout="constrained")
    axes = figure.subplots()
    models = list(dict.fromkeys(row.model for row in ran))
    for position, row in enumerate(ran):
        assert row.quartiles is not None
        assert row.images_per_second is not None
        speed = row.images_per_second
        slow, fast = (1000 * work.batch_size / q for q in reversed(row.quartiles))
        axes.barh(
            position,
            speed,
            xerr=[[max(0.0, speed - slow)], [max(0.0, fast - speed)]],
            color=f"C{models.index(row.model)}",
            capsize=3,
        )
    axes.set_yticks(range(len(ran)), [f"{row.model}, {row.mode}" for row in ran])
    axes.invert_yaxis()
    axes.set_xlabel("images per second (bars: median, lines: quartiles)")
    axes.set_title(
        f"{work.kind}, batch {work.batch_size}, {work.image_size}x{work.image_size}, {work.dtype}"
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def require_picture(path: Path) -> None:
    """Refuses a picture file that could not be written in the end.

    Raises:
        InputError: No known ending, or no such folder.
    """
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"--plot {path}: give a name that ends with .svg, .png or .pdf")
    require_folder("--plot", path)


def require_folder(option: str, path: Path) -> None:
    """Refuses a file whose folder does not exist, before anything is measured."""
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; create it first")
