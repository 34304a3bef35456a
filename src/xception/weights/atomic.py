"""Writing a file so that a kill at any moment leaves the old one or the new one, never half."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the path of a file in the same directory; it replaces ``path`` when the block ends.

    The content is flushed to the device before the name changes, and the directory after it. When
    the block raises, the old file stays as it was and nothing is left behind. What a killed process
    leaves behind has the same name every time, so that it does not pile up.

    Args:
        path: The file to write; its directory exists.

    Yields:
        The path to write to: hidden, beside ``path``.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())  # some writers make files that nobody else can read
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    flush_directory(path.parent)


def _umask() -> int:
    """The permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def flush_directory(directory: Path) -> None:
    """Makes changes of names in a directory durable, where the system allows it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
