"""The parameter servers of a run on Ray: which live, which are silent, and new ones for those."""

import time
from typing import Any, Protocol

from xception.distributed.cluster import ServersDied
from xception.distributed.ray_calls import gone, short_reason
from xception.distributed.ray_losses import Losses
from xception.distributed.ray_placement import Placement
from xception.distributed.ray_processes import Place, ServerProcess
from xception.distributed.settings import AsynchronousKeys
from xception.errors import RunFailedError

START_SECONDS = 600.0
"""The most that a process may take until it answers for the first time."""
ALIVE_SECONDS = 20.0
"""A process that then does not say for so long where it is has stopped."""


class Served(Protocol):
    """What of a run its servers and workers have to know."""

    keys: AsynchronousKeys
    keep_memory: bool

    def server_arguments(self, index: int) -> dict[str, Any]:
        """Arguments of the server's `ParameterShard`."""


class RayServers:
    """All servers of a run.

    Args:
        ray: The connected library.
        placement: Resources for them.
        run: What they are made of.
        losses: Counts those that are lost.

    Attributes:
        handles: Ray's, by index.
        ends: For each server a reference that is ready when it dies.
    """

    def __init__(self, ray: Any, placement: Placement, run: Served, losses: Losses) -> None:
        self._ray, self._placement, self._run, self._losses = ray, placement, run, losses
        shards = run.keys.shards
        self.handles: list[Any] = [None] * shards
        self.ends: list[Any] = [None] * shards
        self._starts: list[Any] = [None] * shards
        self._limit = run.keys.lease_seconds or START_SECONDS

    def start(self) -> None:
        """Starts all."""
        for index in range(len(self.handles)):
            self._start(index)

    def stop(self) -> None:
        """Ends all."""
        for process in filter(None, self.handles):
            self._ray.kill(process)

    def places(self) -> dict[str, Place]:
        """Where those run that have started, by "server 0", …"""
        return {
            f"server {index}": self._ray.get(self._starts[index]) for index in self._have_started()
        }

    def dead(self, seconds: float) -> tuple[int, ...]:
        """Which have died; none may be known to be dead for so long."""
        self._ray.wait(self.ends, num_returns=1, timeout=seconds)
        return self._ready(self.ends)

    def silent(self) -> tuple[int, ...]:
        """Which have started, and say nothing any more although a thread of theirs is free."""
        started = self._have_started()
        refs = [
            self.handles[index].place.options(concurrency_group="watch").remote()
            for index in started
        ]
        _, silent = gather(self._ray, refs, ALIVE_SECONDS)
        return tuple(started[place] for place in silent)

    def replace(self, indices: tuple[int, ...]) -> str:
        """Starts empty ones in their places.

        Returns:
            Why the first of them was lost.

        Raises:
            RunFailedError: Too many were lost.
        """
        reasons = [self._reason(index) for index in indices]
        for index, reason in zip(indices, reasons, strict=True):
            self._ray.kill(self.handles[index])
            self._losses.add(f"server {index}", reason)
            self._start(index)
        return reasons[0]

    def _reason(self, index: int) -> str:
        try:
            self._ray.get(self.ends[index], timeout=0)
        except self._ray.exceptions.GetTimeoutError:
            return f"it gave no answer for {ALIVE_SECONDS:.0f} s"
        except self._ray.exceptions.RayError as error:
            return short_reason(error)
        return "it ended"

    def ask(self, method: str) -> list[Any]:
        """Every server's answer.

        Raises:
            ServersDied: Some gave none; they are replaced.
        """
        return self._answers([getattr(handle, method).remote() for handle in self.handles])

    def restore(self, states: list[dict[str, Any]], generation: int) -> None:
        """Puts all back to a snapshot, those too that die meanwhile."""
        while True:
            pairs = zip(self.handles, states, strict=True)
            try:
                self._answers([handle.restore.remote(state, generation) for handle, state in pairs])
            except ServersDied:
                continue
            return

    def _start(self, index: int) -> None:
        options = self._placement.server(index)
        arguments = self._run.server_arguments(index)
        process = self._ray.remote(**options)(ServerProcess).remote(
            arguments, self._run.keep_memory
        )
        self.handles[index] = process
        self._starts[index] = process.place.remote()
        self.ends[index] = process.watch.options(concurrency_group="watch").remote()

    def _answers(self, refs: list[Any]) -> list[Any]:
        begun = time.monotonic()
        while True:
            answers, missing = gather(self._ray, refs, self._limit)
            if not missing:
                return answers
            lost = self.dead(0) or self.silent()
            if not lost and time.monotonic() - begun > START_SECONDS:
                lost = missing
            if lost:
                raise ServersDied(lost, self.replace(lost))

    def _have_started(self) -> tuple[int, ...]:
        ready, dead = self._ready(self._starts), self._ready(self.ends)
        return tuple(index for index in ready if index not in dead)

    def _ready(self, refs: list[Any]) -> tuple[int, ...]:
        if None in refs:  # nothing is started
            return ()
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return tuple(index for index, ref in enumerate(refs) if ref in ready)


def gather(ray: Any, refs: list[Any], seconds: float) -> tuple[list[Any], tuple[int, ...]]:
    """Waits for the answers of several processes.

    Args:
        ray: The connected library.
        refs: Of calls of different processes.
        seconds: How long.

    Returns:
        The answers, and the places of those who gave none.

    Raises:
        RunFailedError: One of them has failed in what it was asked for.
    """
    if refs:
        ray.wait(refs, num_returns=len(refs), timeout=seconds)
    answers, missing = [], []
    for place, ref in enumerate(refs):
        try:
            answers.append(ray.get(ref, timeout=0))
        except (*gone(ray), ray.exceptions.GetTimeoutError):
            missing.append(place)
        except ray.exceptions.RayTaskError as error:
            raise RunFailedError(f"server {place} failed: {error.cause}") from None
    return answers, tuple(missing)
