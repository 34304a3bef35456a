"""Writing a file so that a kill at any moment leaves the old one or the new one, never half."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the path of a file in the same directory; it replaces ``path`` when the block ends.

    The content is flushed to the device before the name changes, and the directory after it. When
    the block raises, the old file stays as it was and nothing is left behind.

    Args:
        path: The file to write; its directory exists.

    Yields:
        The path to write to, with the same ending as ``path``.
    """
    descriptor, name = tempfile.mkstemp(
        prefix=f".{path.name}.", suffix="".join(path.suffixes), dir=path.parent
    )
    os.close(descriptor)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())  # mkstemp makes files that nobody else can read
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _flush_directory(path.parent)


def _umask() -> int:
    """The permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _flush_directory(directory: Path) -> None:
    """Makes the change of name durable, where the system allows it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
