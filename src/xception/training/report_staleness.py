"""The report's section about asynchronous training: how late the gradients were, and what died."""

from html import escape
from typing import Any

from xception.training.report_classes import percent

ROWS_SHOWN = 100


def staleness(training: Any) -> str:
    """The histogram of the updates' staleness as a table with bars; nothing of a synchronous run.

    Args:
        training: The entry ``training`` of ``summary.json``.
    """
    told = training.get("asynchronous") if isinstance(training, dict) else None
    histogram = told.get("staleness") if isinstance(told, dict) else None
    if not isinstance(histogram, dict) or not all(isinstance(n, int) for n in histogram.values()):
        return ""
    total = max(sum(histogram.values()), 1)
    rows = "".join(
        f'<tr><th class="number" scope="row">{escape(str(late))}</th>'
        f'<td class="number">{updates:,}</td><td class="number">{percent(updates / total)}'
        f'<span class="share"><i style="width:{100 * updates / total:.1f}%"></i></span></td></tr>'
        for late, updates in list(histogram.items())[:ROWS_SHOWN]
    )
    more = len(histogram) - ROWS_SHOWN
    rest = f"<p>and {more:,} more, in staleness.csv</p>" if more > 0 else ""
    counts = told.get("counts") if isinstance(told, dict) else None
    counted = counts if isinstance(counts, dict) else {}
    happened = ", ".join(f"{escape(str(name))}: {escape(str(n))}" for name, n in counted.items())
    return (
        f"<p>{_lead(told)} The staleness of a gradient is the number of updates between the "
        "weights that it was computed with and its own update.</p>"
        + (f"<p>Counted on the way: {happened}.</p>" if happened else "")
        + '<div class="wide"><table><thead><tr><th class="number">staleness</th>'
        '<th class="number">updates</th><th class="number">share</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{rest}"
    )


def _lead(told: Any) -> str:
    mean = told.get("mean_staleness")
    counts = {key: told.get(key) for key in ("workers", "shards")}
    parts = [f"{escape(str(n))} {key[:-1] if n == 1 else key}" for key, n in counts.items()]
    return (
        f"Trained asynchronously ({escape(str(told.get('engine')))}): {', '.join(parts)}; "
        f"mean staleness {escape(str(mean))}."
    )
