"""Tables 1 to 3: the published numbers, ours, the difference. Nothing is filled in."""

from xception.paper.published import (
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TEXT,
    PublishedNumber,
    published,
)
from xception.paper.results import Results
from xception.paper.scale import MULTI_LABEL_NETWORKS
from xception.paper.statistics import PairedComparison, Spread, spread
from xception.paper.table_text import (
    NONE,
    NOT_COMPARABLE,
    NOT_RUN,
    Table,
    difference_text,
    metric_title,
    parameters_text,
    spread_text,
)
from xception.paper.variants import slug

IMAGENET_IMAGES = (50_000, 50_000 - 1_762)
"""Validation images of ILSVRC-2012, with and without the blacklisted ones."""


def table_1(results: Results) -> Table:
    """ImageNet: top-1 and top-5 of every network."""
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
                _gap_to_table_1(results, found, number.value),
                parameters_text(results, variant),
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
                _gap_to_table_1(results, comparison, gain),
                NONE,
                str(comparison.count) if comparison else "0",
            )
        )
    return table


def _gap_to_table_1(
    results: Results, found: Spread | PairedComparison | None, published_value: float
) -> str:
    """Only accuracies on the validation images of ImageNet compare with the published."""
    if found is None:
        return NONE
    if results.scale.name != "imagenet" or not _are_held_out(results, "top1", *IMAGENET_IMAGES):
        return NOT_COMPARABLE
    return f"{_value(found) - published_value:+.4f}"


def _value(found: Spread | PairedComparison) -> float:
    return found.mean if isinstance(found, Spread) else found.difference


def _are_held_out(results: Results, metric: str, *images: float) -> bool:
    """Whether every cell with that figure was evaluated on one of these numbers of images."""
    counts = {
        cell.summary["evaluation"]["images"]
        for cells in results.cells.values()
        for cell in cells.values()
        if cell.figure(metric) is not None
    }
    return counts <= {*images}


def table_2(results: Results) -> Table:
    """JFT: MAP@k with and without fully-connected layers."""
    title = metric_title(results, "map")
    ours = f"{title}, ours" if results.scale.multi_label else "ours"
    table = Table(
        ("network", "place", "MAP@100, published", ours, "difference", "parameters", "seeds")
    )
    for variant, subject in MULTI_LABEL_NETWORKS.items():
        number = published(TABLE_2, subject, "map100")
        found = results.spread(variant, "map")
        table.rows.append(
            (
                subject,
                number.place,
                f"{number.value:.2f} %",
                spread_text(found, percent=True),
                _gap_to_published(results, found, number.value),
                parameters_text(results, variant),
                str(found.count) if found else "0",
            )
        )
    for text, ours_, theirs in _TABLE_2_DIFFERENCES:
        values = [
            published(TABLE_2, MULTI_LABEL_NETWORKS[name], "map100").value
            for name in (ours_, theirs)
        ]
        comparison = results.compare(ours_, theirs, "map")
        table.rows.append(
            (
                text,
                NONE,
                f"{values[0] - values[1]:+.2f} points",
                difference_text(comparison, percent=True),
                _gap_to_published(results, comparison, values[0] - values[1]),
                NONE,
                str(comparison.count) if comparison else "0",
            )
        )
    table.rows.extend(_relative_gains(results))
    return table


def _relative_gains(results: Results) -> list[tuple[str, ...]]:
    """(Xception − Inception V3) / Inception V3 on both tasks: table 2's beside table 1's."""
    dense = published(TEXT, "gain of Xception over Inception V3 on JFT", "relative_gain")
    single = results.single_label or results
    rows: list[tuple[str, ...]] = []
    for text, place, value, gains in (
        (
            "no FC layers",
            NONE,
            _published_gain(TABLE_2, "map100", ", no FC layers"),
            results.gains("multi-label-xception", "multi-label-inception-v3", "map"),
        ),
        (
            "with FC layers",
            dense.place,
            dense.value,
            results.gains("multi-label-xception-fc", "multi-label-inception-v3-fc", "map"),
        ),
        (
            "top-1 of table 1",
            NONE,
            _published_gain(TABLE_1, "top1"),
            single.gains("xception", "inception-v3", "top1"),
        ),
    ):
        found = spread(list(gains.values())) if gains else None
        rows.append(
            (
                f"relative gain of Xception over Inception V3, {text}",
                place,
                f"{value * 100:+.1f} %",
                spread_text(found, percent=True),
                NOT_COMPARABLE if found else NONE,
                NONE,
                str(len(gains)),
            )
        )
    return rows


def _published_gain(table: tuple[PublishedNumber, ...], metric: str, condition: str = "") -> float:
    ours = published(table, f"Xception{condition}", metric).value
    return ours / published(table, f"Inception V3{condition}", metric).value - 1


def _gap_to_published(
    results: Results, found: Spread | PairedComparison | None, published_percent: float
) -> str:
    """Only MAP@100 of FastEval14k's 14,000 images compares; that of a stand-in does not."""
    if found is None:
        return NONE
    task = results.scale.multi_label
    images = published(TEXT, "images of FastEval14k", "images").value
    if task is None or task.k != 100 or not _are_held_out(results, "map", images):
        return NOT_COMPARABLE
    return f"{_value(found) * 100 - published_percent:+.2f}"


_TABLE_2_DIFFERENCES = (
    (
        "Xception − Inception V3, no FC layers",
        "multi-label-xception",
        "multi-label-inception-v3",
    ),
    (
        "Xception − Inception V3, with FC layers",
        "multi-label-xception-fc",
        "multi-label-inception-v3-fc",
    ),
    ("with − without FC layers, Xception", "multi-label-xception-fc", "multi-label-xception"),
    (
        "with − without FC layers, Inception V3",
        "multi-label-inception-v3-fc",
        "multi-label-inception-v3",
    ),
)


def table_3(results: Results) -> Table:
    """Parameters of the full networks, steps per second of the scale's."""
    table = Table(("network", "figure", "published", "ours", "difference"))
    measured = results.speed
    for number in TABLE_3:
        of_size = number.metric == "parameters"
        shown = f"{number.value:,.0f}" if of_size else f"{number.value:g} steps/s"
        found = measured[number.metric][number.subject] if measured else None
        ours, gap = NOT_RUN, NONE
        if found is not None:
            ours = f"{found:,.0f}" if of_size else f"{found:.3g} steps/s"
            gap = f"{found - number.value:+,.0f}" if of_size else NOT_COMPARABLE
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
