"""Every item's table, the claims' table, and the spectrum's answer."""

from xception.paper.claims import Claim, claims
from xception.paper.decision import Decision, decide
from xception.paper.items import Item
from xception.paper.published_tables import table_1, table_2, table_3
from xception.paper.results import Results
from xception.paper.scale import Variant
from xception.paper.statistics import PairedComparison
from xception.paper.table_text import (
    NONE,
    Table,
    difference_text,
    metric_title,
    parameters_text,
    spread_text,
)
from xception.paper.variants import continuum_points, point, variants


def item_table(results: Results, item: Item) -> Table | None:
    """The table of an item; None for drawings."""
    if item.name == "table-1":
        return table_1(results)
    if item.name == "table-2":
        return table_2(results)
    if item.name == "table-3":
        return table_3(results)
    if item.kind == "cells":
        return _accuracies(results, item)
    return None


def claims_table(results: Results) -> Table:
    """Every claim with its comparison and what the rule makes of it."""
    table = Table(
        ("claim", "place", "of", "difference", "pairs", "exact p", "t test p", "outcome", "why")
    )
    for claim, comparison, decision in decided(results):
        exact = f"{comparison.sign_flip_p:.3g}" if comparison else NONE
        t_p = f"{comparison.t_p:.2g}" if comparison and comparison.t_p is not None else NONE
        table.rows.append(
            (
                claim.text,
                claim.statement.place,
                metric_title(results, claim.metric) if not claim.beside else "relative gain",
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
    comparisons = [_compared(results, claim) for claim in listed]
    pairs = zip(listed, comparisons, strict=True)
    decisions = decide([(claim.kind, comparison) for claim, comparison in pairs])
    return list(zip(listed, comparisons, decisions, strict=True))


def _compared(results: Results, claim: Claim) -> PairedComparison | None:
    if claim.beside:
        return results.compare_gains((claim.ours, claim.theirs), claim.metric, claim.beside)
    return results.compare(claim.ours, claim.theirs, claim.metric)


def _accuracies(results: Results, item: Item) -> Table:
    """Top-1 or MAP@k of every variant, and its paired difference to the item's reference."""
    known = variants(results.scale)
    reference, names = item.reference, item.variants
    in_turns = item.name == "spectrum" and results.spectrum_speed
    heading = (
        "network",
        "published",
        f"{metric_title(results, item.metric)}, ours",
        f"difference to {known[reference].title}",
        "parameters",
        "images/s, in turns" if in_turns else "images/s",
        "seeds",
    )
    table = Table(heading)
    curve = "a curve" if item.name.startswith("figure") else "no number"
    for name in names:
        found = results.spread(name, item.metric)
        comparison = results.compare(name, reference, item.metric)
        gap = NONE if name == reference else difference_text(comparison)
        if in_turns:
            measured = in_turns["images_per_second"]
            speeds = [measured[name]] if name in measured else []
        else:
            speeds = [float(c.summary["training"]["images_per_second"]) for c in results.of(name)]
        table.rows.append(
            (
                _title(item, known[name]),
                curve,
                spread_text(found),
                gap,
                parameters_text(results, name),
                f"{sum(speeds) / len(speeds):.0f}" if speeds else NONE,
                str(found.count) if found else "0",
            )
        )
    return table


def _title(item: Item, variant: Variant) -> str:
    spectrum_end = item.name == "spectrum" and variant.name == item.reference
    return "Xception (depthwise, no activation)" if spectrum_end else variant.title


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
