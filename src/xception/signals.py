"""Signals that end a command: Ctrl-C, SIGTERM, a terminal that is closed, a scheduler's SIGUSR1."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""Their names; the last is SLURM's "time is nearly up". Windows has the first two."""


class Terminated(BaseException):
    """A signal other than Ctrl-C came: what was begun is cleaned up on the way out.

    Args:
        number: The signal's.

    Attributes:
        number: The signal's.
        exit_code: 128 + that.
    """

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        told = {"SIGTERM": "terminated", "SIGHUP": "ended, since its terminal was closed"}
        super().__init__(told.get(name, f"ended by {name}"))
        self.number, self.exit_code = number, 128 + number


@contextmanager
def received_by(
    receive: Callable[[int, Any], None], names: tuple[str, ...] = ENDING
) -> Iterator[None]:
    """Hands signals to a function for as long as the block lasts.

    A signal that the process was started to ignore stays ignored: SIGHUP under ``nohup``, Ctrl-C
    behind a shell script's ``&``. In any but the main thread this does nothing.

    Args:
        receive: A signal handler: takes the number and the frame.
        names: Of the signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminals = [descriptor for descriptor in (1, 2) if _is_terminal(descriptor)]

    def hang_up(number: int, frame: Any) -> None:
        # What is written to a closed terminal is an error, which would hide the reason for it.
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for descriptor in terminals:
                os.dup2(nowhere, descriptor)
        receive(number, frame)

    before: dict[int, Any] = {}
    try:
        for name in names:
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) is signal.SIG_IGN:
                continue
            before[number] = signal.signal(number, hang_up if name == "SIGHUP" else receive)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def terminate(number: int, frame: Any) -> NoReturn:
    """A signal handler that raises `Terminated`."""
    raise Terminated(number)


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
