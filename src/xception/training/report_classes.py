"""The report's sections about classes: pictures, confusion matrix, table of the classes."""

from html import escape
from pathlib import Path

import numpy as np

from xception.inference.evaluation import Evaluation
from xception.training.report_record import Example

MATRIX_CLASSES = 25  # more would not fit on a page: then the most confused pairs stand alone
MOST_PAIRS = 30  # with the matrix beside them, fewer
CLASSES_SHOWN = 20  # the others wait in a fold


def percent(share: float) -> str:
    """A share as text; a dash for NaN.

    Example:
        >>> percent(0.98611), percent(1.0), percent(float("nan"))
        ('98.6 %', '100 %', '–')
    """
    if np.isnan(share):
        return "–"
    return "100 %" if share == 1 else f"{100 * share:.1f} %"


def pictures(examples: list[Example]) -> str:
    """Mistakes, then right ones, as two grids of captioned pictures."""
    wrong = [example for example in examples if example.label != example.prediction]
    right = [example for example in examples if example.label == example.prediction]
    parts = []
    for title, group in (("Wrong, the most confident first", wrong), ("Right", right)):
        if group:
            size = "small" if group[0].side < 100 else "large"
            items = "".join(map(_picture, group))
            parts.append(f'<h3>{title}</h3><ul class="pictures {size}">{items}</ul>')
    return "\n".join(parts)


def _picture(example: Example) -> str:
    right = example.label == example.prediction
    label, prediction, name = map(escape, (example.label, example.prediction, example.name))
    short = escape(Path(example.name).name)
    mark, kind = ("✓", "good") if right else ("✗", "bad")
    shares = [f"{100 * p:.0f} %" for p in (example.probability, example.label_probability)]
    truth = f'<div title="{label}"><span>is {label}</span><i>{shares[1]}</i></div>'
    return (
        f'<li><img src="{example.picture}" alt="{label}">'
        f'<div class="{kind}" title="{prediction}"><span>{mark} {prediction}</span>'
        f"<i>{shares[0]}</i></div>{'' if right else truth}"
        f'<div class="file" title="{name}"><span>{short}</span></div></li>'
    )


def has_matrix(evaluation: Evaluation) -> bool:
    """Whether the classes are few enough for a matrix on a page."""
    return evaluation.num_classes <= MATRIX_CLASSES


def confusion(evaluation: Evaluation) -> str:
    """The whole matrix for few classes, the most confused pairs for any number."""
    parts = []
    if has_matrix(evaluation):
        parts.append(f"<div>{_matrix(evaluation)}</div>")
    pairs = most_confused(evaluation, 12 if parts else MOST_PAIRS)
    if not pairs:
        return "\n".join([*parts, "<p>No image was classified wrongly.</p>"])
    names = [escape(name) for name in evaluation.class_names]
    per_class = evaluation.images_per_class
    rows = "".join(
        f'<tr><td>{names[true]}</td><td>{names[taken]}</td><td class="number">{count}</td>'
        f'<td class="number">{percent(count / per_class[true])}</td></tr>'
        for true, taken, count in pairs
    )
    parts.append(
        '<div><h3>Most confused</h3><div class="wide"><table><thead>'
        "<tr><th>is</th><th>taken for</th>"
        '<th class="number">images</th><th class="number">of the class</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></div>"
    )
    return f'<div class="beside">{"".join(parts)}</div>'


def most_confused(evaluation: Evaluation, most: int) -> list[tuple[int, int, int]]:
    """True class, predicted class and number of the commonest mistakes, the commonest first.

    Counted from the mistakes alone: with 1,000 classes the matrix has a million cells.
    """
    wrong = evaluation.ranks > 0
    cells = evaluation.labels[wrong] * evaluation.num_classes + evaluation.predictions[wrong]
    cell, count = np.unique(cells, return_counts=True)
    order = np.argsort(-count, kind="stable")[:most]
    return [
        (
            int(cell[i]) // evaluation.num_classes,
            int(cell[i]) % evaluation.num_classes,
            int(count[i]),
        )
        for i in order
    ]


def _matrix(evaluation: Evaluation) -> str:
    counts = evaluation.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [escape(name) for name in evaluation.class_names]
    upright = max(map(len, evaluation.class_names)) > 4
    heads = "".join(
        f'<th scope="col" title="{name}">'
        + (f'<div class="upright">{name}</div>' if upright else name)
        + "</th>"
        for name in names
    )
    body = "".join(
        f'<tr><th scope="row" title="{name}">{name}</th>'
        + "".join(
            _cell(int(count), float(share), hit=row == column)
            for column, (count, share) in enumerate(zip(counts[row], shares[row], strict=True))
        )
        + "</tr>"
        for row, name in enumerate(names)
    )
    return (
        '<p class="note">Rows: the true class. Columns: the predicted one. '
        "Colour: the share of the row.</p>"
        '<div class="wide"><table class="confusion"><thead>'
        f'<tr><th></th><th class="title" colspan="{len(names)}">predicted</th></tr>'
        f'<tr><th class="title">true</th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(count: int, share: float, *, hit: bool) -> str:
    if count == 0:
        return '<td class="none">0</td>'
    depth = 0.15 + 0.85 * (share if hit else share**0.5)  # rare mistakes must stay visible
    strong = " strong" if depth > 0.6 else ""
    kind = "hit" if hit else "miss"
    return f'<td class="{kind}{strong}" style="--share:{depth:.2f}">{count}</td>'


def class_table(evaluation: Evaluation) -> str:
    """Every class with its accuracy and commonest mistake, the worst first."""
    accuracy, images = evaluation.accuracy_per_class, evaluation.images_per_class
    worst: dict[int, tuple[int, int]] = {}
    for true, taken, count in most_confused(evaluation, most=evaluation.num_images):
        worst.setdefault(true, (taken, count))
    order = np.lexsort((np.arange(len(accuracy)), np.where(np.isnan(accuracy), 2, accuracy)))
    rows = [
        _class_row(evaluation.class_names, int(index), accuracy[index], images[index], worst)
        for index in order
    ]
    shown = _class_rows_table(rows[:CLASSES_SHOWN])
    if len(rows) <= CLASSES_SHOWN:
        return shown
    rest = _class_rows_table(rows[CLASSES_SHOWN:])
    return (
        f"{shown}<details><summary>the other {len(rows) - CLASSES_SHOWN}</summary>{rest}</details>"
    )


def _class_rows_table(rows: list[str]) -> str:
    return (
        '<div class="wide"><table><thead><tr><th>class</th><th class="number">images</th>'
        '<th class="number">top-1</th><th></th><th>most often taken for</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _class_row(
    names: list[str], index: int, accuracy: float, images: int, worst: dict[int, tuple[int, int]]
) -> str:
    mistake = ""
    if index in worst:
        taken, count = worst[index]
        mistake = f"{escape(names[taken])} ({count})"
    width = 0.0 if np.isnan(accuracy) else 100 * accuracy
    return (
        f'<tr><td>{escape(names[index])}</td><td class="number">{images}</td>'
        f'<td class="number">{percent(accuracy)}</td>'
        f'<td><span class="share"><i style="width:{width:.1f}%"></i></span></td>'
        f"<td>{mistake}</td></tr>"
    )
