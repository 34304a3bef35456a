"""A table of the report and what stands in its cells, as text."""

from dataclasses import dataclass, field

from xception.paper.results import Results
from xception.paper.statistics import PairedComparison, Spread

NOT_RUN = "not run"
NOT_COMPARABLE = "not comparable"
"""With a published number: other images."""
NONE = "–"


@dataclass(frozen=True)
class Table:
    """A heading and rows of text.

    Attributes:
        heading: One word or more for each column.
        rows: As many cells each.
    """

    heading: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)


def metric_title(results: Results, metric: str) -> str:
    """A figure's name for readers: "top-1", or "MAP@4"."""
    task = results.scale.multi_label
    return f"MAP@{task.k}" if metric == "map" and task else f"{metric[:3]}-{metric[3:]}"


def spread_text(found: Spread | None, *, percent: bool = False) -> str:
    """Mean ± standard deviation of a share; in percent as table 2 prints it, if asked for."""
    if found is None:
        return NOT_RUN
    factor, places, unit = (100, 2, " %") if percent else (1, 4, "")
    text = f"{found.mean * factor:.{places}f}"
    if found.deviation is not None:
        text += f" ± {found.deviation * factor:.{places}f}"
    return text + unit


def difference_text(comparison: PairedComparison | None, *, percent: bool = False) -> str:
    """Mean difference with its 95 % interval; in percentage points, if asked for."""
    if comparison is None:
        return NOT_RUN
    factor, places, unit = (100, 2, " points") if percent else (1, 4, "")

    def signed(value: float) -> str:
        return f"{value * factor:+.{places}f}"

    text = signed(comparison.difference) + unit
    if comparison.low is None or comparison.high is None:
        return text
    return f"{text} [{signed(comparison.low)}, {signed(comparison.high)}]"


def parameters_text(results: Results, variant: str) -> str:
    """Parameters of a variant's network as it was trained."""
    cells = results.of(variant)
    return f"{cells[0].summary['parameters']:,}" if cells else NONE
