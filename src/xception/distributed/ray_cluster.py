"""Workers and parameter servers as processes of a Ray cluster, and what becomes of those that die.

Implements `xception.distributed.cluster.Cluster`. A process that dies, or a worker that has a batch
for too long, is replaced by a new one; Ray itself restarts nothing and repeats no call, since a
server that came back empty without a word would take gradients for parameters that it has not.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xception.distributed import ray_tensors
from xception.distributed.cluster import (
    Computed,
    Event,
    Pushed,
    ServersLost,
    WorkerLost,
    WorkerReady,
)
from xception.distributed.layout import Values
from xception.distributed.ledger import Lease
from xception.distributed.ray_calls import Call, Calls, Handle, gone, short_reason
from xception.distributed.ray_connection import connection
from xception.distributed.ray_losses import Losses
from xception.distributed.ray_placement import Placement
from xception.distributed.ray_processes import Build, Place, Unreachable, WorkerProcess
from xception.distributed.ray_servers import START_SECONDS, RayServers, Served
from xception.errors import InputError, RunFailedError

POLL_SECONDS = 1.0
MOST_UNREACHABLE = 3
"""Times in a row that a worker may fail to reach servers which live."""
log = logging.getLogger(__name__)


@contextmanager
def connected(run: Served, build: Build) -> Iterator["RayCluster"]:
    """A cluster with the resources that the run asks for; nothing of the run is started yet.

    Args:
        run: The run.
        build: Makes a worker's classifier and training batches, in its process.

    Raises:
        InputError: No cluster answers, or it has less than is asked for.
    """
    with connection(run.keys.ray_address, "asynchronous.ray_address") as ray:
        placement = Placement(ray, run.keys)
        ray_tensors.register(ray)
        cluster = RayCluster(ray, placement, run, build)
        try:
            yield cluster
        finally:
            cluster.stop()
            placement.give_back()
            ray_tensors.deregister(ray)


class RayCluster:
    """See `xception.distributed.cluster.Cluster`.

    Args:
        ray: The connected library.
        placement: Resources for all processes.
        run: What the servers are made of.
        build: Makes a worker's classifier and training batches, in its process.
    """

    def __init__(self, ray: Any, placement: Placement, run: Served, build: Build) -> None:
        self.keys = run.keys
        self._ray, self._placement, self._build = ray, placement, build
        self._losses = Losses(run.keys.max_restarts)
        self.servers = RayServers(ray, placement, run, self._losses)
        self._workers: dict[int, Any] = {}  # Ray's handles
        self._places: dict[str, Place] = {}
        self._calls = Calls(ray)
        self._events: deque[Event] = deque()
        self._asked: dict[int, list[Any]] = {}  # of each worker: the servers that it was told
        self._unreachable: Counter[int] = Counter()  # by worker, in a row

    def start(self) -> None:
        """Starts all processes; a worker tells by an event when it is ready."""
        self.servers.start()
        for worker in range(self.keys.workers):
            self._start_worker(worker)

    def stop(self) -> None:
        """Ends all processes."""
        self.servers.stop()
        for process in self._workers.values():
            self._ray.kill(process)

    def places(self) -> dict[str, Place]:
        """Where the processes run that are ready, by "worker 0", "server 0", …"""
        return self._places | self.servers.places()

    def compute(self, worker: int, lease: Lease) -> None:
        """Starts a pull and a gradient; a `Computed` follows."""

        def take(report: Any) -> None:
            if not self._is_unreachable(worker, report):
                self._events.append(Computed(worker, lease, report))

        self._asked[worker] = list(self.servers.handles)
        arguments = (lease, self._asked[worker])
        self._ask(worker, "compute", arguments, take, self.keys.lease_seconds)

    def push(self, worker: int, lease: Lease) -> None:
        """Sends the gradient to every server; a `Pushed` follows."""

        def take(verdicts: Any) -> None:
            if not self._is_unreachable(worker, verdicts):
                self._losses.has_updated(f"worker {worker}")
                self._unreachable.pop(worker, None)
                self._events.append(Pushed(worker, lease, verdicts))

        self._ask(worker, "push", (lease,), take, self.keys.lease_seconds)

    def next_event(self) -> Event | None:
        """Waits for the next; None: nothing came for a while.

        Raises:
            InputError: A worker found a mistake of the user's.
            RunFailedError: Too much was lost.
        """
        self._replace_what_hangs()
        if not self._events:
            found = self._calls.next(POLL_SECONDS, self.servers.ends)
            if found is not None:
                self._receive(*found)
        return self._events.popleft() if self._events else None

    def averages(self) -> list[Values]:
        """Every server's averaged slice."""
        return self.servers.ask("average")

    def snapshots(self) -> list[dict[str, Any]]:
        """Every server's state."""
        return self.servers.ask("snapshot")

    def restore(self, states: list[dict[str, Any]], generation: int) -> None:
        """Puts all servers back to a snapshot."""
        self.servers.restore(states, generation)
        self._calls.begin_anew()  # workers may have waited for the servers meanwhile

    def _ask(
        self, worker: int, method: str, given: tuple[Any, ...], take: Handle, limit: float | None
    ) -> None:
        ref = getattr(self._workers[worker], method).remote(*given)
        self._calls.add(ref, worker, take, limit)

    def _start_worker(self, worker: int) -> None:
        process = self._ray.remote(**self._placement.worker(worker))(WorkerProcess).remote()
        self._workers[worker] = process
        end = process.watch.options(concurrency_group="watch").remote()
        self._calls.add(end, worker, lambda _: None, None)

        def take(place: Place) -> None:
            self._places[f"worker {worker}"] = place
            log.info("worker %d is process %d on %s", worker, place.pid, place.node)
            self._events.append(WorkerReady(worker))

        given = (self._build, self.keys.shards, self.keys.gradient_precision)
        self._ask(worker, "prepare", given, take, START_SECONDS)

    def _receive(self, ref: Any, call: Call | None) -> None:
        if call is None:
            self._lose_servers(self.servers.dead(0))
            return
        try:
            result = self._ray.get(ref)
        except gone(self._ray) as error:
            self._lose_worker(call.worker, short_reason(error))
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, InputError | RunFailedError):
                raise type(cause)(str(cause)) from None
            self._lose_worker(call.worker, f"{type(cause).__name__}: {cause}")
        else:
            call.take(result)

    def _is_unreachable(self, worker: int, result: Any) -> bool:
        if not isinstance(result, Unreachable):
            return False
        if self._asked[worker] == self.servers.handles:  # else it asked those from before a loss
            dead = self.servers.dead(POLL_SECONDS)
            self._lose_servers(dead)
            self._unreachable[worker] += not dead
        if self._unreachable[worker] >= MOST_UNREACHABLE:
            names = ", ".join(map(str, result.indices))
            self._lose_worker(worker, f"it can't reach server {names}, which lives")
        else:
            self._events.append(WorkerReady(worker))
        return True

    def _replace_what_hangs(self) -> None:
        """Stops and replaces workers that have taken too long, or servers if that is why."""
        late = self._calls.overdue()
        if not late:
            return
        silent = self.servers.silent()
        if silent:
            self._lose_servers(silent)
            self._calls.begin_anew()
            return
        for worker, seconds in late.items():
            self._lose_worker(worker, f"no answer within {seconds:g} s")

    def _lose_worker(self, worker: int, reason: str) -> None:
        self._calls.forget(worker)
        self._ray.kill(self._workers[worker])
        self._places.pop(f"worker {worker}", None)
        self._unreachable.pop(worker, None)
        self._events.append(WorkerLost(worker, reason))
        self._losses.add(f"worker {worker}", reason)
        self._start_worker(worker)

    def _lose_servers(self, indices: tuple[int, ...]) -> None:
        if indices:
            self._events.append(ServersLost(indices, self.servers.replace(indices)))
