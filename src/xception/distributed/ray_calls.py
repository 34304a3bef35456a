"""Calls of Ray processes that are under way, and who takes their results."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

Handle = Callable[[Any], None]


@dataclass(frozen=True)
class Call:
    """A call under way.

    Attributes:
        owner: The process that was called, e.g. "worker 0".
        handle: Takes the result.
        since: When it began, monotonic seconds.
        limit: The most seconds that it may take; None: as long as it likes.
    """

    owner: str
    handle: Handle
    since: float
    limit: float | None


class Calls:
    """All calls under way.

    Args:
        ray: The connected library.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._calls: dict[Any, Call] = {}  # by Ray's reference

    def add(self, ref: Any, owner: str, handle: Handle, *, limit: float | None = None) -> None:
        """Remembers one."""
        self._calls[ref] = Call(owner, handle, time.monotonic(), limit)

    def next(self, seconds: float) -> tuple[Any, Call] | None:
        """The next that is done, with its reference; None: none for so long."""
        ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=seconds)
        return (ready[0], self._calls.pop(ready[0])) if ready else None

    def forget(self, owner: str) -> None:
        """Drops all of a process that is no more."""
        self._calls = {ref: call for ref, call in self._calls.items() if call.owner != owner}

    def overdue(self) -> list[str]:
        """Whose calls have taken too long."""
        now = time.monotonic()
        return [
            call.owner
            for call in self._calls.values()
            if call.limit is not None and now - call.since > call.limit
        ]

    def begin_anew(self) -> None:
        """All calls get their full time again, from now on."""
        now = time.monotonic()
        self._calls = {ref: replace(call, since=now) for ref, call in self._calls.items()}


def gather(
    ray: Any, refs: Sequence[Any], seconds: float | None = None
) -> tuple[list[Any], tuple[int, ...]]:
    """Waits for all answers.

    Args:
        ray: The connected library.
        refs: Of calls of different processes.
        seconds: How long; None: as long as their processes live.

    Returns:
        The answers, and the places of those who gave none.
    """
    ray.wait(list(refs), num_returns=len(refs), timeout=seconds)
    answers, silent = [], []
    for place, ref in enumerate(refs):
        try:
            answers.append(ray.get(ref, timeout=0))
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            silent.append(place)
    return answers, tuple(silent)


def short_reason(error: Exception) -> str:
    """What Ray says of a process's end, in a few words."""
    text = " ".join(str(error).split())
    for told in ("The actor is dead because ", "because of an error raised in its creation task, "):
        _, found, rest = text.partition(told)
        if found:
            text = rest
    return text[:160].rstrip()
