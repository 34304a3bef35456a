"""The input pipelines' figures as tables, a result file and a picture."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xception.benchmark.data_figures import DataRow, PixelDifference
from xception.benchmark.data_loader import EpochFigures, IndexFigures, StartFigures
from xception.benchmark.data_pipelines import PIPELINES, TRANSFORMS
from xception.benchmark.data_work import DataWork
from xception.benchmark.machine import Machine

HEADINGS = (
    "pipeline",
    "ms an image",
    "quartiles",
    "images/s per core",
    "peak GiB",
    "of copy",
    "to torchvision or timm",
    "to the fastest peer",
)


@dataclass(frozen=True)
class DataReport:
    """All that ``xception benchmark data`` found.

    Attributes:
        work: The work of the first race; the others differ in their transforms.
        machine: Limits of one core.
        rows: Of all races.
        difference: Of fast to exact decoding; None if not compared.
        index: Of a million files; None if not asked for, like what follows.
        starts: The loader's.
        epochs: One after another.
        conditions: Rounds, command, hardware, versions, date, what the images are.
    """

    work: DataWork
    machine: Machine
    rows: list[DataRow]
    difference: PixelDifference | None
    index: IndexFigures | None
    starts: list[StartFigures]
    epochs: list[EpochFigures]
    conditions: dict[str, Any]

    def as_primitives(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "work": self.work.as_primitives()}


def cells(row: DataRow) -> list[str]:
    """One row for a table, in the order of ``HEADINGS``; a failure stands in the second cell."""
    if row.failure or row.quartiles is None:
        return [row.pipeline, row.failure, *[""] * (len(HEADINGS) - 2)]
    low, high = row.quartiles
    return [
        row.pipeline,
        f"{row.milliseconds:.3f}",
        f"{low:.3f}–{high:.3f}",
        f"{row.images_per_second:,.0f}",
        f"{row.peak_gib:.2f}",
        "" if row.of_copy is None else f"{row.of_copy:.1%}",
        "" if row.usual_ratio is None else f"{row.usual_ratio:.2f}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
    ]


def conditions_sentence(report: DataReport) -> str:
    """What was measured, in one paragraph."""
    work, rounds = report.work, report.conditions["rounds"]
    return (
        f"{len(work.names)} JPEGs ({report.conditions['images']}), in the page cache; batches of "
        f"{work.batch_size}, {work.image_size}x{work.image_size}, each pipeline in a process and "
        f"on a core of its own, one thread, ending with bytes; median and quartiles of {rounds} "
        "interleaved rounds in seeded random order. Copy bandwidth of that core: "
        f'{report.machine.bytes_per_second / 1e9:.1f} GB/s; "of copy" are the bytes of the files '
        "and of the results over it. The ratios are the speed over that of the faster of "
        "torchvision's ImageFolder and timm, as they load images by themselves, and over that of "
        "the fastest peer, torchvision's own decoder with it."
    )


def sentences(report: DataReport) -> list[str]:
    """What is not in the tables: pixels, index, start, epochs."""
    found = []
    if report.difference:
        gap = report.difference
        found.append(
            f"Mean absolute difference of fast to exact: {gap.mean:.3f} of 255 over all "
            f"{gap.crops} crops; {gap.changed} of them differ, by {gap.largest_mean:.2f} at most "
            "in the mean."
        )
    if report.index:
        index = report.index
        found.append(
            f"Index of {index.files:,} files: {index.bytes_an_entry:.1f} bytes an entry, built in "
            f"{index.seconds:.2f} s."
        )
    for start in report.starts:
        memory = "" if start.private_mb is None else f", {start.private_mb:.0f} MB of its own each"
        how = {"fork": "forked", "spawn": "spawned"}[start.method]
        found.append(
            f"Loader processes {how}, {start.files:,} files: first batch after "
            f"{start.seconds:.2f} s{memory}."
        )
    for epoch in report.epochs:
        memory = "" if epoch.private_mb is None else f", {epoch.private_mb:.0f} MB a process"
        found.append(f"Epoch {epoch.epoch + 1}: {epoch.images_per_second:,.0f} images/s{memory}.")
    return found


def markdown(report: DataReport) -> str:
    """The result file's text."""
    conditions = report.conditions
    lines = [
        f"# Input pipelines on {conditions['hardware_name']}",
        "",
        conditions_sentence(report),
        "",
        *(f"- `{name}`: {what}." for name, what in PIPELINES.items()),
    ]
    for transforms in dict.fromkeys(row.transforms for row in report.rows):
        what = next(text for name, text in TRANSFORMS.items() if name == transforms)
        lines += ["", f"## {transforms}: {what}", "", f"| {' | '.join(HEADINGS)} |"]
        lines.append(f"|{' --- |' * len(HEADINGS)}")
        rows = [row for row in report.rows if row.transforms == transforms]
        lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    lines += ["", *(f"- {sentence}" for sentence in sentences(report))]
    versions = ", ".join(f"{name} {version}" for name, version in conditions["versions"].items())
    lines += ["", f"{conditions['date']}; {versions}", "", f"    {conditions['command']}"]
    return "\n".join(lines) + "\n"


def result_path(folder: Path, conditions: dict[str, Any]) -> Path:
    """``data-<hardware>-<date>.md`` in a folder."""
    hardware = re.sub(r"[^a-z0-9]+", "-", conditions["hardware_name"].lower()).strip("-")
    return folder / f"data-{hardware}-{conditions['date']}.md"


def draw(report: DataReport, path: Path) -> None:
    """Draws images per second as bars, a panel for each kind of transforms.

    Args:
        report: The rows that ran are drawn.
        path: ``.svg``, ``.png`` or ``.pdf``.
    """
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(row.transforms for row in report.rows))
    names = list(dict.fromkeys(row.pipeline for row in report.rows))
    figure = Figure(figsize=(3 + 3 * len(kinds), 1.2 + 0.4 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, sharex=True, squeeze=False)[0]
    for axes, transforms in zip(panels, kinds, strict=True):
        for row in report.rows:
            if row.transforms != transforms or row.quartiles is None:
                continue
            assert row.images_per_second is not None
            speed = row.images_per_second
            slow, fast = (1000 / quartile for quartile in reversed(row.quartiles))
            axes.barh(
                names.index(row.pipeline),
                speed,
                xerr=[[max(0.0, speed - slow)], [max(0.0, fast - speed)]],
                color="C0" if row.pipeline.startswith("xception") else "C7",
                capsize=3,
            )
        axes.set_title(transforms)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    figure.supxlabel("images per second and core (bars: median, lines: quartiles)", fontsize=10)
    figure.savefig(path, dpi=150)
