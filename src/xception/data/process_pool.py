"""A pool of processes that leaves none behind: not after an error, not after a kill."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from typing import Any

from xception.data.shared_memory import require_shared_memory
from xception.data.worker_process import script_left_out
from xception.errors import RunFailedError
from xception.signals import ENDING

_LOOK_SECONDS = 0.1


@contextmanager
def process_pool(
    workers: int,
    begin: Callable[..., Any] | None = None,
    arguments: tuple[Any, ...] = (),
    *,
    fork: bool = True,
) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once when the block raises, or when their parent is gone.

    A pool of the standard library finishes what it has begun, which may take minutes; and where the
    parent was killed, its processes wait for work for ever, or go on writing beside the run that is
    started next.

    Args:
        workers: How many.
        begin: Called first in each process.
        arguments: For it.
        fork: Whether the processes may be forked, so that they share the arguments. On Linux only;
            elsewhere, and where a library has threads that a fork would lose, they are spawned.

    Raises:
        RunFailedError: One of the processes was killed or crashed.
    """
    require_shared_memory(workers)
    forked = fork and sys.platform == "linux"
    context = multiprocessing.get_context("fork" if forked else "spawn")
    # No lock, no event: a process that is killed while it waits would never give it back.
    stop = context.RawValue("b", 0)
    started = (stop, os.getpid(), begin, arguments)
    script = nullcontext() if forked else script_left_out()
    with script, ProcessPoolExecutor(workers, context, _start, started) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            stop.value = 1
            raise RunFailedError(
                "a worker process was killed or crashed; start again, with fewer workers if "
                "memory ran out"
            ) from None
        except BaseException:
            stop.value = 1
            raise


def _start(
    stop: Any, parent: int, begin: Callable[..., Any] | None, arguments: tuple[Any, ...]
) -> None:
    for name in ENDING:  # they reach all processes; the parent decides
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_watch, args=(stop, parent), name="parent", daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _watch(stop: Any, parent: int) -> None:
    while os.getppid() == parent and not stop.value:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
