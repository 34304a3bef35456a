"""What a race found, as figures: medians, quartiles, rates, ratios, shares of limits."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xception.benchmark.machine import Machine
from xception.benchmark.race import Lane
from xception.benchmark.work import Work


@dataclass(frozen=True)
class Row:
    """One contender's figures; None where it did not run or could not be counted.

    Attributes:
        model: Its network.
        mode: How it ran.
        parameters: Trainable numbers.
        milliseconds: Median of a step.
        quartiles: First and third quartile of a step, milliseconds.
        images_per_second: Images over the median step.
        peak_gib: Most memory, GiB.
        of_copy: Estimated traffic per second over the machine's copy bandwidth.
        of_matrix: Operations per second over the machine's matrix rate.
        ratio: Speed over the first contender's: ratio of medians.
        failure: Why it did not run; "" if it did.
    """

    model: str
    mode: str
    parameters: int | None = None
    milliseconds: float | None = None
    quartiles: tuple[float, float] | None = None
    images_per_second: float | None = None
    peak_gib: float | None = None
    of_copy: float | None = None
    of_matrix: float | None = None
    ratio: float | None = None
    failure: str = ""


def rows_of(lanes: Sequence[Lane], work: Work, machine: Machine) -> list[Row]:
    """Turns lanes into rows, in their order.

    Args:
        lanes: What ``run_race`` returned.
        work: What they did.
        machine: The limits of the device.
    """
    first = statistics.median(lanes[0].seconds) if lanes and lanes[0].seconds else None
    return [_row(lane, work, machine, first) for lane in lanes]


def _row(lane: Lane, work: Work, machine: Machine, first: float | None) -> Row:
    model, mode = lane.contender.model, lane.contender.mode
    if lane.failure or not lane.seconds:
        return Row(model, mode, failure=lane.failure or "no round was run")
    median = statistics.median(lane.seconds)
    low, high = quartiles(lane.seconds)
    cost = lane.cost
    return Row(
        model=model,
        mode=mode,
        parameters=lane.parameters,
        milliseconds=1000 * median,
        quartiles=(1000 * low, 1000 * high),
        images_per_second=work.batch_size / median,
        peak_gib=lane.peak_bytes / 2**30,
        of_copy=cost.bytes_moved / median / machine.bytes_per_second if cost else None,
        of_matrix=cost.flop / median / machine.flop_per_second if cost else None,
        ratio=first / median if first else None,
    )


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile, interpolated; of one value, that value.

    Example:
        >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
        (2.0, 4.0)
    """
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def disagreements(lanes: Sequence[Lane], tolerance: float) -> list[str]:
    """Names the modes whose first step found something else than the network's first mode.

    Args:
        lanes: All modes of a network start from the same weights and images.
        tolerance: Largest difference allowed, over the largest value.
    """
    found = []
    reference: dict[str, Lane] = {}
    for lane in lanes:
        if lane.failure:
            continue
        other = reference.setdefault(lane.contender.model, lane)
        scale = max(map(abs, other.outcome))
        gap = max(abs(a - b) for a, b in zip(lane.outcome, other.outcome, strict=True))
        if not gap <= tolerance * scale:
            found.append(
                f"{lane.contender.label} differs from {other.contender.mode} by {gap / scale:.1e}"
            )
    return found


def as_primitives(
    rows: Sequence[Row], work: Work, machine: Machine, conditions: dict[str, Any]
) -> dict[str, Any]:
    """All figures for JSON.

    Args:
        rows: The contenders.
        work: What they did.
        machine: The limits of the device.
        conditions: Rounds, command, hardware, versions, date.
    """
    return {
        "work": work.as_primitives(),
        "machine": vars(machine),
        "conditions": conditions,
        "contenders": [dict(vars(row)) for row in rows],
    }
