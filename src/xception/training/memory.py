"""Freed memory stays with the process: training on a CPU is faster for it.

A step frees and takes the same large maps again and again. glibc gives every block of more than
32 MiB back to the system at once, which must then clear it page by page for the next layer.
``xception benchmark train --modes channels_last channels_last+keep_memory`` measures the gain; what
it found lies in ``benchmarks/results``.
"""

import ctypes
import platform
import sys

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # mallopt(3)
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tells the C library to keep what is freed, for the whole process and for good.

    The peak memory stays about what it was; between the peaks the process does not shrink.

    Returns:
        Whether it is set: only with glibc (Linux).
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    # 1 GiB is more than any map of these networks. Older versions accept at most 32 MiB; there no
    # block at all is taken from the system by itself. Trimming never happens.
    kept = library.mallopt(_MMAP_THRESHOLD, 2**30) or library.mallopt(_MMAP_MAX, 0)
    return bool(kept and library.mallopt(_TRIM_THRESHOLD, _LARGEST))


def keep_memory_on_cpu(device: torch.device) -> bool:
    """Calls ``keep_freed_memory`` where it matters: on a GPU the maps are not the process's.

    Returns:
        Whether it did something.
    """
    return device.type == "cpu" and keep_freed_memory()
