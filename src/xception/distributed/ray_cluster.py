"""Workers and parameter servers as processes of a Ray cluster, and what becomes of those that die.

Implements `xception.distributed.cluster.Cluster`. A process that dies, or a worker that has a batch
for too long, is replaced by a new one; Ray itself restarts nothing and repeats no call, since a
server that came back empty without a word would take gradients for parameters that it has not.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from xception.distributed import ray_tensors
from xception.distributed.cluster import (
    Computed,
    Event,
    Pushed,
    ServersDied,
    ServersLost,
    WorkerLost,
    WorkerReady,
)
from xception.distributed.layout import Values
from xception.distributed.ledger import Lease
from xception.distributed.ray_calls import Calls, Handle, gather, short_reason
from xception.distributed.ray_connection import connection
from xception.distributed.ray_placement import Placement
from xception.distributed.ray_processes import (
    Build,
    Place,
    ServerProcess,
    Unreachable,
    WorkerProcess,
)
from xception.distributed.settings import AsynchronousKeys
from xception.errors import InputError, RunFailedError

POLL_SECONDS = 1.0
START_SECONDS = 600.0
"""The most that a worker may take until it has built its network and opened its data."""
ALIVE_SECONDS = 20.0
"""A process that does not say for so long where it is has stopped."""
MOST_LIVES = 3
"""Of a process without an update between: then the fault is not the machine's."""
log = logging.getLogger(__name__)


class Served(Protocol):
    """What of a run a cluster has to know."""

    keys: AsynchronousKeys

    def server_arguments(self, index: int) -> dict[str, Any]:
        """Arguments of the server's `ParameterShard`."""


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
        self.places: dict[str, Place] = {}
        """Where the processes run, by "worker 0", "server 0", …"""
        self._ray, self._placement, self._run, self._build = ray, placement, run, build
        self._workers: dict[int, Any] = {}  # Ray's handles
        self._servers: list[Any] = []
        self._ends: list[Any] = []  # of each server: a reference that is ready when it dies
        self._calls = Calls(ray)
        self._events: deque[Event] = deque()
        self._lost = 0
        self._lives: Counter[str] = Counter()

    def start(self) -> None:
        """Starts all processes; a worker tells by an event when it is ready."""
        self._servers = [None] * self.keys.shards
        self._ends = [None] * self.keys.shards
        for index in range(self.keys.shards):
            self._start_server(index)
        for worker in range(self.keys.workers):
            self._start_worker(worker)

    def stop(self) -> None:
        """Ends all processes."""
        for process in (*self._servers, *self._workers.values()):
            if process is not None:  # a start that failed half way
                self._ray.kill(process)

    def compute(self, worker: int, lease: Lease) -> None:
        """Starts a pull and a gradient; a `Computed` follows."""

        def take(report: Any) -> None:
            if not self._is_unreachable(worker, report):
                self._events.append(Computed(worker, lease, report))

        self._ask_worker(worker, "compute", (lease, self._servers), take)

    def push(self, worker: int, lease: Lease) -> None:
        """Sends the gradient to every server; a `Pushed` follows."""

        def take(verdicts: Any) -> None:
            if not self._is_unreachable(worker, verdicts):
                del self._lives[f"worker {worker}"]
                for name in [name for name in self._lives if name.startswith("server")]:
                    del self._lives[name]
                self._events.append(Pushed(worker, lease, verdicts))

        self._ask_worker(worker, "push", (lease,), take)

    def next_event(self) -> Event | None:
        """Waits for the next; None: nothing came for a while.

        Raises:
            InputError: A worker found a mistake of the user's.
            RunFailedError: Too much was lost.
        """
        self._replace_what_hangs()
        if not self._events:
            found = self._calls.next(POLL_SECONDS)
            if found is not None:
                ref, call = found
                self._receive(ref, call.owner, call.handle)
        return self._events.popleft() if self._events else None

    def averages(self) -> list[Values]:
        """Every server's averaged slice."""
        found: list[Values] = self._ask_servers("average")
        return found

    def snapshots(self) -> list[dict[str, Any]]:
        """Every server's state."""
        found: list[dict[str, Any]] = self._ask_servers("snapshot")
        return found

    def restore(self, states: list[dict[str, Any]], generation: int) -> None:
        """Puts all servers back to a snapshot, those too that die meanwhile."""
        while True:
            pairs = zip(self._servers, states, strict=True)
            refs = [server.restore.remote(state, generation) for server, state in pairs]
            _, lost = gather(self._ray, refs, self.keys.lease_seconds)
            if not lost:
                return
            self._replace_servers(lost)

    def _ask_servers(self, method: str) -> list[Any]:
        refs = [getattr(server, method).remote() for server in self._servers]
        answers, lost = gather(self._ray, refs, self.keys.lease_seconds)
        if lost:
            self._replace_servers(lost)
            raise ServersDied(lost)
        return answers

    def _ask_worker(
        self, worker: int, method: str, arguments: tuple[Any, ...], take: Handle
    ) -> None:
        ref = getattr(self._workers[worker], method).remote(*arguments)
        limit = START_SECONDS if method == "prepare" else self.keys.lease_seconds
        self._calls.add(ref, f"worker {worker}", take, limit=limit)

    def _start_server(self, index: int) -> None:
        name, options = f"server {index}", self._placement.server(index)
        arguments = self._run.server_arguments(index)
        process = self._ray.remote(**options)(ServerProcess).remote(arguments)
        self._servers[index] = process
        self._calls.add(process.place.remote(), name, lambda place: self._note(name, place))
        self._ends[index] = self._watch(process, name)

    def _start_worker(self, worker: int) -> None:
        name, options = f"worker {worker}", self._placement.worker(worker)
        self._workers[worker] = self._ray.remote(**options)(WorkerProcess).remote()
        self._watch(self._workers[worker], name)

        def take(place: Place) -> None:
            self._note(name, place)
            self._events.append(WorkerReady(worker))

        arguments = (self._build, self.keys.shards, self.keys.gradient_precision)
        self._ask_worker(worker, "prepare", arguments, take)

    def _note(self, name: str, place: Place) -> None:
        self.places[name] = place
        log.info("%s is process %d on %s", name, place.pid, place.node)

    def _watch(self, process: Any, name: str) -> Any:
        ref = process.watch.options(concurrency_group="watch").remote()
        self._calls.add(ref, name, lambda _: None)
        return ref

    def _receive(self, ref: Any, owner: str, handle: Handle) -> None:
        kind, _, number = owner.partition(" ")
        try:
            result = self._ray.get(ref)
        except self._ray.exceptions.RayActorError as error:
            if kind == "worker":
                self._lose_worker(int(number), short_reason(error))
            else:
                self._lose_servers(self._dead_servers(0))
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, InputError | RunFailedError):
                raise type(cause)(str(cause)) from None
            if kind == "server":
                raise
            self._lose_worker(int(number), f"{type(cause).__name__}: {cause}")
        else:
            handle(result)

    def _is_unreachable(self, worker: int, result: Any) -> bool:
        if not isinstance(result, Unreachable):
            return False
        self._lose_servers(self._dead_servers(POLL_SECONDS))
        self._events.append(WorkerReady(worker))
        return True

    def _dead_servers(self, seconds: float) -> tuple[int, ...]:
        """Which have died; none may be known to be dead for a moment."""
        self._ray.wait(self._ends, num_returns=1, timeout=seconds)
        dead, _ = self._ray.wait(self._ends, num_returns=len(self._ends), timeout=0)
        return tuple(index for index, end in enumerate(self._ends) if end in dead)

    def _replace_what_hangs(self) -> None:
        """Stops and replaces workers that have taken too long, or servers if that is why."""
        late = self._calls.overdue()
        if not late:
            return
        answers = [
            server.place.options(concurrency_group="watch").remote() for server in self._servers
        ]
        _, silent = gather(self._ray, answers, ALIVE_SECONDS)
        self._lose_servers(silent)
        if silent:
            self._calls.begin_anew()
            return
        for owner in late:
            reason = "no answer within asynchronous.lease_seconds"
            self._lose_worker(int(owner.split()[1]), reason)

    def _lose_worker(self, worker: int, reason: str) -> None:
        self._calls.forget(f"worker {worker}")
        self._ray.kill(self._workers[worker])
        self._events.append(WorkerLost(worker, reason))
        self._count_loss(f"worker {worker}", reason)
        self._start_worker(worker)

    def _lose_servers(self, indices: tuple[int, ...]) -> None:
        if indices:
            self._replace_servers(indices)
            self._events.append(ServersLost(indices))

    def _replace_servers(self, indices: tuple[int, ...]) -> None:
        for index in indices:
            self._calls.forget(f"server {index}")
            self._ray.kill(self._servers[index])
            self._count_loss(f"server {index}", "it died, or gave no answer")
            self._start_server(index)

    def _count_loss(self, name: str, reason: str) -> None:
        self._lost += 1
        self._lives[name] += 1
        if self._lives[name] >= MOST_LIVES:
            raise RunFailedError(
                f"{name} was lost {MOST_LIVES} times without an update between; the last time: "
                f"{reason}"
            )
        if self._lost > self.keys.max_restarts:
            raise RunFailedError(
                f"{name} was lost ({reason}), and asynchronous.max_restarts, "
                f"{self.keys.max_restarts}, is reached"
            )
