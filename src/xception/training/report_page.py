"""The report as HTML: the frame of the page, its headline figures, and the facts of the run.

All text that comes from files is escaped; a policy in the head forbids the page any request.
"""

import math
import re
from html import escape
from importlib import resources
from typing import Any

from xception.inference.evaluation import Evaluation
from xception.training.report_charts import training_charts
from xception.training.report_classes import (
    class_table,
    confusion,
    has_matrix,
    percent,
    pictures,
)
from xception.training.report_precisions import precision_tables
from xception.training.report_record import RunRecord
from xception.training.report_staleness import staleness

SKIPPED_SHOWN = 200
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(record: RunRecord) -> str:
    """The whole page of a run."""
    sections = [section for section in _sections(record) if section[2]]
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in sections)
    body = "\n".join(
        f'<section id="{key}"><h2>{escape(title)}</h2>\n{content}</section>'
        for key, title, content in sections
    )
    style = resources.files("xception.training").joinpath("report.css").read_text("utf-8")
    name = escape(record.name)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name} · training report</title>\n<style>\n{style}</style></head>\n<body>\n"
        f'<header><h1>{name}</h1><p class="lead">{_lead(record)}</p><nav>{links}</nav>'
        f"{_figures(record)}</header>\n<main>{body}</main>\n"
        f"<footer>Written by xception {escape(_version(record))}.</footer>\n</body></html>\n"
    )


def _sections(record: RunRecord) -> list[tuple[str, str, str]]:
    found = record.evaluation and record.evaluation.without_blacklisted()
    top_k = record.evaluation.k if record.evaluation else 5
    charts = "".join(
        f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>"
        for title, svg in training_charts(record.metrics, top_k)
    )
    confusions = "Confusion matrix" if found and has_matrix(found) else "Confusions"
    recipe = f"<pre>{escape(record.recipe)}</pre>" if record.recipe else ""
    return [
        ("curves", "Training", charts and f'<div class="charts">{charts}</div>'),
        ("examples", "Examples", pictures(record.examples)),
        ("confusion", confusions, confusion(found) if found and found.num_images else ""),
        ("classes", "Classes", class_table(found) if found and found.num_images else ""),
        ("precisions", "Average precision of the classes", precision_tables(record.precisions)),
        ("staleness", "Staleness", staleness(record.summary.get("training"))),
        ("skipped", "Images that could not be read", _skipped(record)),
        ("run", "Time, hardware, versions", _facts(record.summary)),
        ("recipe", "Recipe", recipe),
    ]


def _lead(record: RunRecord) -> str:
    """What was trained on what, in a sentence or two."""
    model = record.keys.get("model") or {}
    data = record.keys.get("data") or {}
    parts = []
    if isinstance(model, dict) and model.get("name"):
        name = model["name"]
        if name == "from-weights":
            name = record.summary.get("architecture") or "a network"
        origin = f"fine-tuned from {model['weights']} " if model.get("weights") else "trained "
        parts.append(escape(f"{name} {origin}{_place(data)}".strip()))
    elif _place(data):
        parts.append(escape(f"trained {_place(data)}"))
    if record.evaluation:
        found = record.evaluation
        parts.append(
            f"evaluated on {found.num_images:,} held-out images of {found.num_classes:,} classes"
        )
    return ", ".join(parts) + _choice(record)


def _place(data: Any) -> str:
    """On which images, as the end of a phrase."""
    if not isinstance(data, dict) or not (data.get("name") or data.get("root")):
        return ""
    if data.get("name") in (None, "folder", "multi-label"):
        return f"on the images in {data.get('root')}"
    return f"on {data['name']}"


def _choice(record: RunRecord) -> str:
    """A sentence where the weights were chosen by the held-out images."""
    training = record.summary.get("training")
    if not isinstance(training, dict) or training.get("kept") != "best":
        return ""
    return (
        f". The weights are those of step {training.get('best_step')}, the best of "
        f"{training.get('validations')} validations: the held-out images chose them, so the "
        "accuracy on these images is optimistic"
    )


def _figures(record: RunRecord) -> str:
    cards: list[tuple[str, str, str]] = []
    if record.evaluation:
        cards += _accuracy_cards(record.evaluation)
    found = record.summary.get("evaluation")
    if isinstance(found, dict) and isinstance(found.get("map"), float):
        note = f"per {found.get('reading')}"
        cards.append((f"MAP@{found.get('k')}", f"{found['map']:.4f}", note))
    training = record.summary.get("training")
    measured = training if isinstance(training, dict) else {}
    for facts, key, label in (
        (measured, "seconds", "training time"),
        (measured, "images_per_second", "images in training"),
        (record.summary, "parameters", "parameters"),
    ):
        value = facts.get(key)
        if isinstance(value, (int, float)):
            told = format_value(key, value)
            many = isinstance(value, int) and value >= 1e6
            cards.append((label, f"{value / 1e6:.1f} M" if many else told, told if many else ""))
    if not cards:
        return ""
    items = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}"
        + (f"<small>{escape(note)}</small>" if note else "")
        + "</dd></div>"
        for label, value, note in cards
    )
    return f'<dl class="figures">{items}</dl>'


def _accuracy_cards(whole: Evaluation) -> list[tuple[str, str, str]]:
    found = whole.without_blacklisted()
    right = int((found.ranks == 0).sum())
    note = f"{right:,} of {found.num_images:,}"
    cards = [
        ("top-1 accuracy", percent(found.top1), note),
        (f"top-{found.k} accuracy", percent(found.top5), ""),
        ("loss", f"{found.loss:.4f}", "nats per image"),
    ]
    if found.num_images < whole.num_images:
        withdrawn = whole.num_images - found.num_images
        note = f"with {withdrawn:,} blacklisted; top-{whole.k} {percent(whole.top5)}"
        cards.insert(2, (f"top-1 on all {whole.num_images:,}", percent(whole.top1), note))
    return cards


def _skipped(record: RunRecord) -> str:
    """Names and reasons of unreadable images: of the evaluation, then of the training."""
    training = record.summary.get("training")
    in_training = training.get("unreadable") if isinstance(training, dict) else None
    evaluated = [reason for _, reason in record.evaluation.skipped] if record.evaluation else []
    lists = [
        ("Held-out images, in no figure", evaluated),
        ("Training images, passed over", [str(entry) for entry in in_training or []]),
    ]
    return "".join(_names(title, names) for title, names in lists if names)


def _names(title: str, names: list[str]) -> str:
    items = "".join(f"<li>{escape(name)}</li>" for name in names[:SKIPPED_SHOWN])
    more = len(names) - SKIPPED_SHOWN
    rest = f"<p>and {more:,} more</p>" if more > 0 else ""
    return f"<h3>{escape(title)}: {len(names):,}</h3><ul>{items}</ul>{rest}"


def _facts(summary: dict[str, Any]) -> str:
    """Everything in ``summary.json`` as tables: its plain entries, then one for each group."""
    groups: dict[str, dict[str, Any]] = {"run": {}}
    for key, value in summary.items():
        if isinstance(value, dict):
            # These have sections of their own.
            elsewhere = ("unreadable", "asynchronous")
            groups[key] = {name: fact for name, fact in value.items() if name not in elsewhere}
        elif value is not None:
            groups["run"][key] = value
    tables = "".join(
        f"<div><h3>{escape(_words(group).capitalize())}</h3>"
        f"<table><tbody>{_fact_rows(group, facts)}</tbody></table></div>"
        for group, facts in groups.items()
        if facts
    )
    return f'<div class="facts">{tables}</div>' if tables else ""


def _fact_rows(group: str, facts: dict[str, Any]) -> str:
    rows = []
    for key, value in facts.items():
        whole = f"{key}_{group}" if group.endswith(("_bytes", "_seconds")) else key
        rows.append(
            f"<tr><th>{escape(_words(key))}</th><td>{escape(format_value(whole, value))}</td></tr>"
        )
    return "".join(rows)


def _words(key: str) -> str:
    key = "time" if key == "seconds" else key
    for unit in ("_seconds", "_bytes"):
        key = key.removesuffix(unit)
    return re.sub(r"^top(\d)", r"top-\1", key).replace("_", " ")


def format_value(key: str, value: Any) -> str:
    """A figure with the unit that its name ends in.

    Example:
        >>> format_value("training_seconds", 133.4), format_value("peak_memory_bytes", 2.1e9)
        ('2 min 13 s', '2.10 GB')
        >>> format_value("images_per_second", 1234.5), format_value("top1", 0.98611)
        ('1,234/s', '98.6 %')
    """
    if value is None:
        return "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(format_value(key, entry) for entry in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{_words(k)} {format_value(k, entry)}" for k, entry in value.items())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    if re.fullmatch(r"top\d", key):
        return percent(value)
    if key.endswith("_per_second"):
        return f"{value:,.0f}/s" if value >= 100 else f"{value:.1f}/s"
    if key.endswith("seconds") or key.startswith("seconds"):
        return _duration(value)
    if key.endswith("_bytes"):
        return _amount(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 10:
        return f"{hours + minutes / 60:.1f} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _amount(count: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return (
                f"{count / size:.3g} {unit}"
                if count / size >= 100
                else f"{count / size:.2f} {unit}"
            )
    return f"{count:.0f} bytes"


def _version(record: RunRecord) -> str:
    from xception import __version__

    versions = record.summary.get("versions")
    found = versions.get("xception") if isinstance(versions, dict) else None
    return str(found or __version__)
