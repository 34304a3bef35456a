"""An item's table: the published numbers, ours, the difference. Nothing is filled in."""

from dataclasses import dataclass, field

from xception.paper.claims import Claim, claims
from xception.paper.decision import Decision, decide
from xception.paper.items import Item, continuum_points, point, slug, variants
from xception.paper.published import TABLE_1, TABLE_2, TABLE_3, published
from xception.paper.results import Results
from xception.paper.statistics import PairedComparison, Spread

NOT_RUN = "not run"
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


def item_table(results: Results, item: Item) -> Table | None:
    """The table of an item; None for drawings."""
    if item.name == "table-1":
        return _table_1(results)
    if item.name == "table-2":
        table = Table(("network", "place", "MAP@100, published", "ours"))
        for n in TABLE_2:
            table.rows.append((n.subject, n.place, f"{n.value:.2f} %", NOT_RUN))
        return table
    if item.name == "table-3":
        return _table_3(results)
    if item.kind == "cells":
        return _accuracies(results, item)
    return None


def claims_table(results: Results) -> Table:
    """Every claim with its comparison and what the rule makes of it."""
    table = Table(
        ("claim", "place", "difference in top-1", "pairs", "exact p", "t test p", "outcome", "why")
    )
    for claim, comparison, decision in decided(results):
        exact = f"{comparison.sign_flip_p:.3g}" if comparison else NONE
        t_p = f"{comparison.t_p:.2g}" if comparison and comparison.t_p is not None else NONE
        table.rows.append(
            (
                claim.text,
                claim.statement.place,
                difference_text(comparison),
                str(comparison.count) if comparison else "0",
                exact,
                t_p,
                decision.outcome,
                decision.reason,
            )
        )
    return table


def decided(results: Results) -> list[tuple[Claim, PairedComparison | None, Decision]]:
    """Each claim, ours against theirs, and the decision over the whole list."""
    listed = claims(results.scale)
    comparisons = [results.compare(claim.ours, claim.theirs) for claim in listed]
    pairs = zip(listed, comparisons, strict=True)
    decisions = decide([(claim.kind, comparison) for claim, comparison in pairs])
    return list(zip(listed, comparisons, decisions, strict=True))


def spread_text(found: Spread | None) -> str:
    """Mean ± standard deviation of a share."""
    if found is None:
        return NOT_RUN
    if found.deviation is None:
        return f"{found.mean:.4f}"
    return f"{found.mean:.4f} ± {found.deviation:.4f}"


def difference_text(comparison: PairedComparison | None) -> str:
    """Mean difference with its 95 % interval."""
    if comparison is None:
        return NOT_RUN
    text = f"{comparison.difference:+.4f}"
    if comparison.low is None or comparison.high is None:
        return text
    return f"{text} [{comparison.low:+.4f}, {comparison.high:+.4f}]"


def _table_1(results: Results) -> Table:
    table = Table(("network", "figure", "published", "ours", "difference", "parameters", "seeds"))
    for number in TABLE_1:
        variant = slug(number.subject)
        found = results.spread(variant, number.metric)
        table.rows.append(
            (
                f"{number.subject} ({number.place})",
                f"{number.metric[:3]}-{number.metric[3:]}",
                f"{number.value:.3f}",
                spread_text(found),
                f"{found.mean - number.value:+.4f}" if found else NONE,
                _parameters(results, variant),
                str(found.count) if found else "0",
            )
        )
    for metric in ("top1", "top5"):
        values = [published(TABLE_1, name, metric).value for name in ("Xception", "Inception V3")]
        comparison = results.compare("xception", "inception-v3", metric)
        gain = values[0] - values[1]
        table.rows.append(
            (
                "Xception − Inception V3",
                f"{metric[:3]}-{metric[3:]}",
                f"{gain:+.3f}",
                difference_text(comparison),
                f"{comparison.difference - gain:+.4f}" if comparison else NONE,
                NONE,
                str(comparison.count) if comparison else "0",
            )
        )
    return table


def _table_3(results: Results) -> Table:
    table = Table(("network", "figure", "published", "ours", "difference"))
    measured = results.speed
    for number in TABLE_3:
        of_size = number.metric == "parameters"
        shown = f"{number.value:,.0f}" if of_size else f"{number.value:g} steps/s"
        found = measured[number.metric][number.subject] if measured else None
        ours, gap = NOT_RUN, NONE
        if found is not None:
            ours = f"{found:,.0f}" if of_size else f"{found:.3g} steps/s"
            gap = f"{found - number.value:+,.0f}" if of_size else "not comparable"
        name = "parameters, 1,000 classes" if of_size else "training speed"
        table.rows.append((f"{number.subject} ({number.place})", name, shown, ours, gap))
    speeds = [
        published(TABLE_3, name, "steps_per_second").value for name in ("Xception", "Inception V3")
    ]
    ratio = speeds[0] / speeds[1]
    ours = f"{measured['ratio']:.3f}" if measured else NOT_RUN
    gap = f"{measured['ratio'] - ratio:+.3f}" if measured else NONE
    row = ("Xception / Inception V3", "ratio of the speeds", f"28/31 = {ratio:.3f}", ours, gap)
    table.rows.append(row)
    return table


def _accuracies(results: Results, item: Item) -> Table:
    """Top-1 of every variant, and its paired difference to the item's first one."""
    known = variants(results.scale)
    reference = "xception"
    names = item.variants
    heading = (
        "network",
        "published",
        "top-1, ours",
        f"difference to {known[reference].title}",
        "parameters",
        "images/s",
        "seeds",
    )
    table = Table(heading)
    curve = "a curve" if item.name.startswith("figure") else "no number"
    for name in names:
        found = results.spread(name)
        gap = NONE if name == reference else difference_text(results.compare(name, reference))
        speeds = [float(c.summary["training"]["images_per_second"]) for c in results.of(name)]
        table.rows.append(
            (
                known[name].title if name != reference else _reference_title(item),
                curve,
                spread_text(found),
                gap,
                _parameters(results, name),
                f"{sum(speeds) / len(speeds):.0f}" if speeds else NONE,
                str(found.count) if found else "0",
            )
        )
    return table


def _reference_title(item: Item) -> str:
    return "Xception (depthwise, no activation)" if item.name == "spectrum" else "Xception"


def _parameters(results: Results, variant: str) -> str:
    cells = results.of(variant)
    return f"{cells[0].summary['parameters']:,}" if cells else NONE


def spectrum_answer(results: Results) -> str | None:
    """Which point was best, in a sentence; None unless at least two were run."""
    known = variants(results.scale)
    names = [
        point(segments, activation)
        for segments in continuum_points(results.scale)
        for activation in ("none", *results.scale.activations)
    ]
    found = [(spread.mean, name) for name in names if (spread := results.spread(name))]
    if len(found) < 2:
        return None
    mean, best = max(found)
    title = "the depthwise end without activation" if best == "xception" else known[best].title
    text = f"The highest mean of the {len(found)} points that were run is {mean:.4f}: {title}."
    comparison = results.compare(best, "xception")
    if best != "xception" and comparison is not None:
        text += f" Its paired difference to Xception is {difference_text(comparison)}."
    return text + (
        " The highest of many means is the highest partly by chance; this is no decision, and the "
        "paper makes no claim here."
    )
