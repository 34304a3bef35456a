"""The sizes of files, by which a changed one is known before its bytes are read."""

import os

UNREADABLE = -1
"""The size of what can't be read."""


def size_of(path: str | os.PathLike[str]) -> int:
    """A file's size in bytes; `UNREADABLE` where it is none."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - once for every image
    except OSError:
        return UNREADABLE
