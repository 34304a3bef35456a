"""Locks between processes that work in one directory at the same time."""

from pathlib import Path
from typing import Any


def try_lock(path: Path) -> Any:
    """The lock of a run directory, which need not exist; None if another process has it.

    Args:
        path: The directory; the lock is a hidden file beside it, which a killed process gives back.

    Returns:
        A ``filelock.FileLock``, to be released.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock
