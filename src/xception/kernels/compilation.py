"""Launches kernels, or compiles them side by side and launches nothing.

A kernel is compiled at its first launch, which takes about a second, and every configuration that
is timed is one more. A training step meets several hundred. Triton compiles without Python's lock,
so that threads do it as fast as there are cores.
"""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor


class _Collection:
    """What is being compiled: by threads, each kernel once for every way it is specialised."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool
        self.jobs: dict[tuple[Any, ...], Future[None]] = {}


# Seen by all threads, as the backward pass runs in those of autograd.
_collection: _Collection | None = None


def collecting() -> bool:
    """Whether launches only compile, see :func:`side_by_side`."""
    return _collection is not None


@contextlib.contextmanager
def side_by_side(threads: int | None = None) -> Iterator[dict[tuple[Any, ...], Future[None]]]:
    """While it is on, kernels are compiled and not run: results are not written. Waits at its end.

    A kernel that cannot be compiled raises at its launch, not here. Inside another one it does
    nothing of its own.

    Args:
        threads: That compile; by default one for each core.

    Yields:
        The kernels that were met, one entry for each that is compiled.
    """
    global _collection
    if _collection is not None:
        yield _collection.jobs
        return
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        _collection = _Collection(pool)
        try:
            yield _collection.jobs
        finally:
            _collection = None


def blocks_for(size: int, block: int) -> int:
    """How many blocks cover a size.

    ``triton.cdiv`` is the same for kernels too, and takes ten times as long: a step asks 500 times.

    Example:
        >>> blocks_for(5, 4), blocks_for(8, 4)
        (2, 2)
    """
    return -(-size // block)


def start(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Launches a Triton kernel on the current stream and device, or has it compiled.

    Args:
        kernel: The function under ``triton.jit``.
        grid: Number of programs along each axis.
        *arguments: Of the kernel: tensors and sizes.
        **options: Its constants, and ``num_warps`` and ``num_stages``.
    """
    if _collection is None:
        kernel[grid](*arguments, **options)
        return
    # What Triton compiles for: types and alignment of pointers, divisibility of sizes, constants.
    key = (kernel, *map(_specialization, arguments), *sorted(options.items()))
    if key not in _collection.jobs:
        job = _collection.pool.submit(_compile, kernel, grid, _current(), arguments, options)
        _collection.jobs[key] = job


def _compile(
    kernel: Any, grid: tuple[int, ...], device: int, arguments: Any, options: dict[str, Any]
) -> None:
    with torch.cuda.device(device):  # a new thread's current device is the first
        kernel.warmup(*arguments, grid=grid, **options)


def _current() -> int:
    return torch.cuda.current_device() if torch.cuda.is_available() else -1


def _specialization(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    return type(argument), argument == 1, argument % 16 == 0, argument < 2**31
