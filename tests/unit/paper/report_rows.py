"""Rows of the report's tables, found by what they begin with."""

from xception.paper.items import items
from xception.paper.report_tables import item_table


def row_of(table, *beginnings):
    """The one row whose first cells begin so, as a dictionary by heading."""
    (found,) = [
        row
        for row in table.rows
        if all(cell.startswith(start) for cell, start in zip(row, beginnings, strict=False))
    ]
    return dict(zip(table.heading, found, strict=True))


def item_of(results, name):
    """An item's table."""
    return item_table(results, items(results.scale)[name])
