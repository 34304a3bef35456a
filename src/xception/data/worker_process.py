"""Loader processes, once started: one ends when its parent ends it, or is gone.

Ctrl-C, a scheduler's SIGTERM and the end of a terminal reach every process of a job at once. The
main process then finishes its step and saves; its loader processes must neither die before it nor
print tracebacks.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, TracebackType

from xception.signals import ENDING

_HELD = {getattr(signal, name) for name in ENDING if hasattr(signal, name)}


@contextmanager
def signals_held() -> Iterator[None]:
    """Holds the signals back that end a run while loader processes start, which inherit that.

    A signal that comes meanwhile takes effect right after.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def script_left_out() -> Iterator[None]:
    """Keeps processes that are spawned meanwhile from running the user's script once more.

    Python imports the main script in every spawned process, for the classes that it may define; a
    script without ``if __name__ == "__main__":`` would train in each of them. What is handed to
    such a process must not come from that script.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # of no file, so there is nothing to import
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def settle_worker(worker: int) -> None:
    """Makes a loader process deaf to `ENDING`, but for a SIGTERM from its parent.

    What it has inherited is also taken out of the garbage collector's rounds: a round writes to
    every object that it visits, and a forked process would get copies of its parent's memory.

    Args:
        worker: The loader process's number, as ``DataLoader`` gives it; of no consequence.
    """
    gc.freeze()
    sys.excepthook = _tell_unless_interrupted
    for number in _HELD - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        threading.Thread(target=_obey_parent, name="sigterm", daemon=True).start()


def _tell_unless_interrupted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """An exception hook that is silent when the main process has hung up.

    The thread that hands tensors over ends up here when Ctrl-C stops the main process half-way
    through a hand-over; what goes wrong with an image never does.
    """
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _obey_parent() -> None:
    while True:
        received = signal.sigwaitinfo({signal.SIGTERM})
        if received.si_pid == os.getppid():
            os._exit(0)


def cpu_cores() -> int:
    """CPU cores that this process may use, which in a container can be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
