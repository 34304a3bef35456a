"""The kernel benchmark's tables in Markdown, from the figures in its record."""

import math
import statistics
from typing import Any

from xception.benchmark.kernels_models import NAMES

PAPER_RATIO = 28 / 31  # steps per second, Xception over Inception V3 (table 3)
Row = dict[str, Any]


def report(figures: dict[str, Any]) -> str:
    """The whole result file.

    Args:
        figures: Those of a ``Record``.
    """
    lines = [
        f"# Fused kernels on {figures['device']}",
        "",
        f"`{figures['command']}`, {figures['date']}, {figures['versions']}.",
        "",
        f"Measured here: copy {figures['bytes_per_second'] / 1e9:.0f} GB/s (read and written), "
        "bfloat16 product of 8192x8192 matrices "
        f"{figures['flop_per_second'] / 1e12:.0f} TFLOP/s. A floor is the time to move each tensor "
        "once, or to multiply, at these rates.",
    ]
    for table, rows in figures.items():
        if not isinstance(rows, list) or not rows:
            continue
        lines += ["", f"## {table[0].upper()}{table[1:]}", ""]
        if table == "checks":
            lines += _checks(rows)
        elif table.startswith("kernels"):
            lines += _kernels(rows)
        else:
            lines += _networks(rows)
    return "\n".join(lines) + "\n"


def _checks(rows: list[Row]) -> list[str]:
    lines = ["| what | largest error, of the largest value | allowed |", "| --- | --- | --- |"]
    return lines + [
        f"| {row['name']} | {row['error']:.1e} | {row['allowed']:.0e} |" for row in rows
    ]


def _kernels(rows: list[Row]) -> list[str]:
    lines = [
        "| kernel, size | a step | ms | GB/s | of copy | TFLOP/s | of peak | floor | plain ms "
        "| error |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if row["failure"]:
            lines.append(f"| {row['name']} | {row['a_step']} | {row['failure']} |" + " |" * 7)
            continue
        lines.append(
            f"| {row['name']} | {row['a_step']} | {row['milliseconds']:.3f} "
            f"| {row['gigabytes_per_second']:.0f} | {row['of_copy']:.0%} "
            f"| {row['teraflop_per_second']:.0f} | {row['of_matrix']:.0%} "
            f"| {row['floor_milliseconds']:.3f} | {_number(row['plain_milliseconds'], 3)} "
            f"| {row['error']:.0e} |"
        )
    summed = [row for row in rows if row["summed"] and not row["failure"]]
    ours, floor, plain = (
        sum(row["a_step"] * (row[name] or math.nan) for row in summed)
        for name in ("milliseconds", "floor_milliseconds", "plain_milliseconds")
    )
    missing = sum(1 for row in rows if row["summed"] and row["failure"])
    return [
        *lines,
        "",
        f"These kernels as often as a training step runs them: {ours:.1f} ms; floor {floor:.1f} "
        f"ms; plain eager {_number(plain, 1)} ms. (Depthwise and pointwise as two kernels; the "
        "stem's convolutions, shortcuts and head are not in it"
        + (f"; {missing} failed.)" if missing else ".)"),
    ]


def _networks(rows: list[Row]) -> list[str]:
    lines = [
        "| network | ms | fastest-slowest round | rounds | images/s | peak GiB | speed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        times = row["milliseconds"]
        if row["failure"] or not times:
            lines.append(f"| {row['name']} | {row['failure']} |" + " |" * 5)
            continue
        lines.append(
            f"| {row['name']} | {statistics.median(times):.2f} | {min(times):.2f}-{max(times):.2f} "
            f"| {len(times)} | {row['images_per_second']:.0f} | {_number(row['peak_gib'], 1)} "
            f"| {_number(_speed(row), 2)} |"
        )
    best = {
        name: max(
            (speed for row in rows if row["name"].startswith(name) and (speed := _speed(row)) > 0),
            default=math.nan,
        )
        for name in NAMES
    }
    eager = next((_speed(r) for r in rows if r["name"] == "timm inception_v3, eager"), math.nan)
    fused = best["ours, fused"]
    return [
        *lines,
        "",
        "Speed is that over our plain layers in eager mode, timed in the same rounds. Fused, at "
        "its best, over the others at theirs: "
        f"{fused / best['timm legacy_xception']:.2f} times timm's legacy_xception (target "
        "1.7), "
        f"{fused / best['timm inception_v3']:.2f} times Inception V3 (as near to 1 as can be), "
        f"{fused / eager:.2f} times eager Inception V3 (target 1.0), "
        f"{fused / best['ours, plain']:.2f} times our plain layers (nan: not measured). "
        f"The paper's training ratio to Inception V3 was {PAPER_RATIO:.2f}.",
    ]


def _speed(row: Row) -> float:
    """Over the anchor of the same run, so that the rows of several runs can be compared."""
    if row["failure"] or not row["milliseconds"] or not row["anchor_milliseconds"]:
        return math.nan
    return float(row["anchor_milliseconds"] / statistics.median(row["milliseconds"]))


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"
