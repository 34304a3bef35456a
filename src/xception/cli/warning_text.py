"""Warnings of the libraries, in one sentence that a user of this command can act on."""

import re

REWORDED = {
    r"This DataLoader will create (\d+) worker processes in total\. "
    r"Our suggested max number of worker in current system is (\d+)": (
        r"more loader processes (\1) than usable CPU cores (\2); fewer may be faster"
    ),
}


def reword(message: str) -> str:
    r"""A warning on one line, in this project's words where it has some.

    Args:
        message: What the library says.

    Example:
        >>> reword("Something\n  happened.")
        'Something happened.'
    """
    line = " ".join(message.split())
    for pattern, words in REWORDED.items():
        found = re.search(pattern, line)
        if found:
            return found.expand(words)
    return line
