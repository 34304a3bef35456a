"""One process at a time writes into a folder."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xception.errors import InputError

_PATIENCE_SECONDS = 3.0  # processes that a killed one has started need a moment to end


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Locks a folder; the system releases it when this process and its children have ended.

    Where the system has no such lock (Windows, some network file systems) it does nothing.

    Args:
        folder: Which.

    Raises:
        InputError: Another process has locked it.
    """
    descriptor = os.open(folder, os.O_RDONLY) if os.name == "posix" else None
    try:
        if descriptor is not None:
            _lock(descriptor, folder)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    import fcntl

    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise InputError(
                    f"another process is writing into {folder}; wait until it has ended"
                ) from None
            time.sleep(0.05)
        except OSError:
            return
        else:
            return
