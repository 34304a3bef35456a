"""A pool of processes that leaves none behind: not after an error, not after a kill."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any

_LOOK_SECONDS = 0.1


@contextmanager
def process_pool(
    workers: int, begin: Callable[..., Any] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once when the block raises, or when their parent is gone.

    A pool of the standard library finishes what it has begun, which may take minutes; and where the
    parent was killed, its processes wait for work for ever, or go on writing beside the run that is
    started next. Forked where the system can: they share the arguments.

    Args:
        workers: How many.
        begin: Called first in each process.
        arguments: For it.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    stop = context.Event()
    started = (stop, os.getpid(), begin, arguments)
    with ProcessPoolExecutor(workers, context, _start, started) as pool:
        try:
            yield pool
        except BaseException:
            stop.set()
            raise


def _start(
    stop: Event, parent: int, begin: Callable[..., Any] | None, arguments: tuple[Any, ...]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    threading.Thread(target=_watch, args=(stop, parent), name="parent", daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _watch(stop: Event, parent: int) -> None:
    while os.getppid() == parent and not stop.wait(_LOOK_SECONDS):
        pass
    os._exit(1)
