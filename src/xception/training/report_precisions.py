"""The report's section about the classes of a run that is measured by MAP@k (section 4.1)."""

from collections.abc import Sequence
from html import escape

from xception.metrics.class_report import ClassRow, best_and_worst

CLASSES_SHOWN = 20  # the best, and the worst; classes.csv holds all


def precision_tables(rows: Sequence[ClassRow]) -> str:
    """The best and the worst classes by average precision; nothing without rows.

    Args:
        rows: One for each class.
    """
    if not rows:
        return ""
    best, worst = best_and_worst(rows, CLASSES_SHOWN)
    without = sum(row.average_precision is None for row in rows)
    note = (
        f"<p>{len(rows):,} classes, {without:,} of them in no held-out image. "
        "All are in classes.csv beside this page.</p>"
    )
    parts = [note]
    for title, shown in (("The best", best), ("The worst", worst)):
        if shown:
            body = "".join(map(_row, shown))
            parts.append(
                f'<h3>{title}</h3><div class="wide"><table><thead><tr><th>class</th>'
                '<th class="number">average precision</th><th></th><th class="number">weight</th>'
                '<th class="number">images</th><th class="number">predicted</th>'
                f'<th class="number">hits</th></tr></thead><tbody>{body}</tbody></table></div>'
            )
    return "".join(parts)


def _row(row: ClassRow) -> str:
    assert row.average_precision is not None
    width = 100 * row.average_precision
    numbers = (f"{row.weight:g}", *(f"{n:,}" for n in (row.positives, row.predictions, row.hits)))
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    return (
        f'<tr><td>{escape(row.name)}</td><td class="number">{row.average_precision:.4f}</td>'
        f'<td><span class="share"><i style="width:{width:.1f}%"></i></span></td>{cells}</tr>'
    )
