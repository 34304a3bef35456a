"""Calls of Ray workers that are under way, and who takes their results."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

Handle = Callable[[Any], None]


@dataclass(frozen=True)
class Call:
    """A call under way.

    Attributes:
        worker: Who was called.
        take: Takes the result.
        since: When it began, monotonic seconds.
        limit: The most seconds that it may take; None: as long as it likes.
    """

    worker: int
    take: Handle
    since: float
    limit: float | None


class Calls:
    """All calls of workers that are under way.

    Args:
        ray: The connected library.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._calls: dict[Any, Call] = {}  # by Ray's reference

    def add(self, ref: Any, worker: int, take: Handle, limit: float | None) -> None:
        """Remembers one."""
        self._calls[ref] = Call(worker, take, time.monotonic(), limit)

    def next(self, seconds: float, others: Sequence[Any]) -> tuple[Any, Call | None] | None:
        """The next that is done, with its reference.

        Args:
            seconds: How long it is waited for; None comes back where nothing was done.
            others: Further references, which have no call here.
        """
        refs = [*others, *self._calls]
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=seconds)
        return (ready[0], self._calls.pop(ready[0], None)) if ready else None

    def forget(self, worker: int) -> None:
        """Drops all of a worker that is no more."""
        self._calls = {ref: call for ref, call in self._calls.items() if call.worker != worker}

    def overdue(self) -> dict[int, float]:
        """Whose calls have taken longer than so many seconds, and have not ended unnoticed."""
        now = time.monotonic()
        late = {
            ref: (call.worker, call.limit)
            for ref, call in self._calls.items()
            if call.limit is not None and now - call.since > call.limit
        }
        if not late:
            return {}
        _, hanging = self._ray.wait(list(late), num_returns=len(late), timeout=0)
        return dict(late[ref] for ref in hanging)

    def begin_anew(self) -> None:
        """All calls get their full time again, from now on."""
        now = time.monotonic()
        self._calls = {ref: replace(call, since=now) for ref, call in self._calls.items()}


def gone(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray raises where a process is no more, or its machine with what it had to send."""
    errors = ray.exceptions
    return errors.RayActorError, errors.ActorUnschedulableError, errors.ObjectLostError


def short_reason(error: Exception) -> str:
    """What Ray says of a process's end, in a few words."""
    text = " ".join(str(error).split())
    for told in ("The actor is dead because ", "because of an error raised in its creation task, "):
        text = text.partition(told)[2] or text
    return text.partition(" Worker exit type:")[0].rstrip(". ")[:160]
