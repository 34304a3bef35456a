"""The memory that processes share, ``/dev/shm`` on Linux: in a container it may be 64 MB or none.

A loader process puts its batches there. Where they do not fit, PyTorch's loader fails in the middle
of a run, or waits for ever; so it is asked for before.
"""

import os
import sys
import warnings
from pathlib import Path

from xception.errors import InputError

PLACE = Path("/dev/shm")
_AHEAD = 2  # batches that each process prepares in advance, PyTorch's default


def processes_that_fit(wanted: int, batch_bytes: int) -> int:
    """The wanted number of loader processes, or as many as there is shared memory for.

    A smaller number is told in a warning.

    Args:
        wanted: Loader processes.
        batch_bytes: Size of a batch.
    """
    free = _free_bytes()
    if free is None:
        return wanted
    fit = max(0, min(wanted, (free // max(1, batch_bytes) - 1) // _AHEAD)) if free else 0
    if fit < wanted:
        warnings.warn(
            f"loader processes: {fit} instead of {wanted}, since {_shortage(free)}; for more, "
            f"{_REMEDY}",
            stacklevel=2,
        )
    return fit


def require_shared_memory(processes: int, batch_bytes: int = 0) -> None:
    """Raises where so many loader processes would lack shared memory.

    Args:
        processes: How many; none need none.
        batch_bytes: Size of a batch.

    Raises:
        InputError: There is none, or too little.
    """
    free = _free_bytes()
    needed = (_AHEAD * processes + 1) * batch_bytes
    if not processes or free is None or (free and free >= needed):
        return
    asked = f"{needed / 1e6:,.1f} MB of shared memory" if batch_bytes else "shared memory"
    raise InputError(
        f"with --num-workers or data.num_workers {processes}, the processes need {asked}, and "
        f"{_shortage(free)}; take fewer processes (0 needs none) or smaller batches, or {_REMEDY}"
    )


_REMEDY = "enlarge it (docker run --shm-size=8g)"


def _shortage(free: int) -> str:
    return f"{PLACE} has {free / 1e6:,.1f} MB free" if free else f"{PLACE} can't be written"


def _free_bytes() -> int | None:
    """Free shared memory; 0 where it can't be written, None on systems that have no such place."""
    if sys.platform != "linux":
        return None
    try:
        found = os.statvfs(PLACE)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize if os.access(PLACE, os.W_OK) else 0
