"""A full device ends a run in one sentence; what was saved before stays whole."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from xception.errors import RunFailedError


@contextmanager
def space_needed() -> Iterator[None]:
    """Says how a run goes on that found no space left to write into.

    Raises:
        RunFailedError: The device, or the user's share of it, is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" for {error.filename}" if error.filename else ""
        raise RunFailedError(
            f"no space left on the device{where}; free some, then go on with --resume"
        ) from None
