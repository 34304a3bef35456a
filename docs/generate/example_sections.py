"""What docstrings of this project say in another way than griffe and Markdown expect it.

A section ``Example:`` is ``Examples:`` to griffe; ``::`` before a block and roles such as ``:mod:``
are no Markdown.
"""

import re
from typing import Any

import griffe

HEADING = re.compile(r"^Example:$", re.MULTILINE)
LITERAL = re.compile(r"::$", re.MULTILINE)
ROLE = re.compile(r":(?:mod|class|func|meth|attr|data):`~?([^`]+)`")


class ExampleSections(griffe.Extension):
    """Changes docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Changes the docstring of one module, class, function or attribute."""
        if obj.docstring:
            text = HEADING.sub("Examples:", obj.docstring.value)
            obj.docstring.value = LITERAL.sub(":", ROLE.sub(r"`\1`", text))
