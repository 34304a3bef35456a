"""A simulated cluster: the workers and servers of asynchronous training in one process.

Time is simulated: what takes how long is said by a function, and events come in the order of their
time, those of the same time in the order in which they were scheduled. So a run has the same result
every time, and the effect of staleness can be studied on a laptop. One worker is synchronous
gradient descent, bit by bit.
"""

import heapq
import math
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from xception.data.order import mixed_seed
from xception.distributed.cluster import (
    Computed,
    Event,
    Pushed,
    ServersLost,
    WorkerLost,
    WorkerReady,
)
from xception.distributed.gradient_worker import GradientWorker, Report
from xception.distributed.layout import Values
from xception.distributed.ledger import Lease
from xception.distributed.shard import ParameterShard, Pulled, Push, Verdict

Durations = Callable[[int, int], float]  # worker, ticket → seconds of a gradient


def jittered(jitter: float, seed: int = 0) -> Durations:
    """About a second to a gradient: exp(N(0, jitter²)), by seed, worker and ticket."""

    def duration(worker: int, ticket: int) -> float:
        draw = random.Random(mixed_seed(seed, worker, ticket)).gauss(0, 1)
        return math.exp(jitter * draw)

    return duration


@dataclass(frozen=True)
class Crash:
    """Something dies.

    Attributes:
        time: When, simulated seconds.
        worker: The worker; None: a server.
        server: The server, where no worker is named.
        seconds: Until the worker is back.
    """

    time: float
    worker: int | None = None
    server: int = 0
    seconds: float = 1.0


@dataclass(frozen=True)
class _Job:
    """What a worker is at: its batch, what it pulled, and when it has the gradient."""

    lease: Lease
    pulled: list[Pulled]
    due: float


class Inline(Executor):
    """Runs what it is given at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Calls the function; its result, or its exception, is in the future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class SimulatedCluster:
    """Workers and servers in this process.

    Args:
        servers: All of them.
        worker: Computes for all workers, one after the other; it keeps nothing between two batches.
        durations: How long a gradient takes, from pull to push.
        push_seconds: How long a push takes; the servers get their slices one after the other.
        crashes: What dies, and when.
        rebuild: Makes the server of an index anew, where one dies.
    """

    def __init__(
        self,
        servers: list[ParameterShard],
        worker: GradientWorker,
        durations: Durations,
        *,
        push_seconds: float = 0.0,
        crashes: Sequence[Crash] = (),
        rebuild: Callable[[int], ParameterShard] | None = None,
    ) -> None:
        self.servers, self.worker = servers, worker
        self.durations, self.push_seconds = durations, push_seconds
        self.rebuild = rebuild
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], Event | None]]] = []
        self._scheduled = 0
        self._life: dict[int, int] = {}  # of a worker: what an earlier life began never arrives
        self._jobs: dict[int, _Job] = {}
        self._gradients: dict[int, tuple[Report, list[Push]]] = {}
        for crash in crashes:
            self._at(crash.time, lambda crash=crash: self._crash(crash))  # type: ignore[misc]

    def _at(self, time: float, action: Callable[[], Event | None]) -> None:
        self._scheduled += 1
        heapq.heappush(self._queue, (time, self._scheduled, action))

    def _unless_dead(self, worker: int, time: float, action: Callable[[], Event | None]) -> None:
        """Schedules what a worker does, unless it dies before."""
        life = self._life.get(worker, 0)
        self._at(time, lambda: action() if self._life.get(worker, 0) == life else None)

    def compute(self, worker: int, lease: Lease) -> None:
        """Pulls now; the gradient is there after its duration."""
        pulled = [server.pull() for server in self.servers]
        due = self.now + self.durations(worker, lease.ticket)
        self._begin(worker, _Job(lease, pulled, due))

    def _begin(self, worker: int, job: _Job) -> None:
        self._jobs.pop(worker, None)
        self._jobs[worker] = job  # at the end: in the order in which they were begun
        self._unless_dead(worker, job.due, lambda: self._computed(worker, job))

    def _computed(self, worker: int, job: _Job) -> Computed:
        self._gradients[worker] = self.worker.compute(job.lease, job.pulled)
        return Computed(worker, job.lease, self._gradients[worker][0])

    def push(self, worker: int, lease: Lease) -> None:
        """Delivers the slices one after the other."""
        del self._jobs[worker]
        _, pushes = self._gradients.pop(worker)
        verdicts: list[Verdict] = []
        for index, push in enumerate(pushes):
            seconds = self.push_seconds * (index + 1) / len(pushes)
            self._unless_dead(
                worker,
                self.now + seconds,
                lambda index=index, push=push: verdicts.append(self.servers[index].push(push)),  # type: ignore[misc]
            )
        self._unless_dead(
            worker, self.now + self.push_seconds, lambda: Pushed(worker, lease, verdicts)
        )

    def next_event(self) -> Event:
        """The next event in simulated time."""
        while True:
            assert self._queue, "nothing is left to happen: the run would wait for ever"
            self.now, _, action = heapq.heappop(self._queue)
            event = action()
            if event is not None:
                return event

    def _crash(self, crash: Crash) -> Event:
        if crash.worker is None:
            assert self.rebuild is not None
            self.servers[crash.server] = self.rebuild(crash.server)
            return ServersLost((crash.server,))
        worker = crash.worker
        self._life[worker] = self._life.get(worker, 0) + 1
        self._jobs.pop(worker, None)
        self._gradients.pop(worker, None)
        self._unless_dead(worker, self.now + crash.seconds, lambda: WorkerReady(worker))
        return WorkerLost(worker, "simulated")

    def averages(self) -> list[Values]:
        """Every server's averaged slice."""
        return [server.average() for server in self.servers]

    def snapshots(self) -> list[dict[str, Any]]:
        """Every server's state."""
        return [server.snapshot() for server in self.servers]

    def restore(self, states: list[dict[str, Any]], generation: int) -> None:
        """Puts all servers back to a snapshot."""
        for server, state in zip(self.servers, states, strict=True):
            server.restore(state, generation)

    def work(self) -> dict[str, Any]:
        """The time, and every worker's batch with the weights that it pulled for it.

        Crashes that have not come yet are not in it.
        """
        jobs = [
            {
                "worker": worker,
                "lease": (job.lease.number, job.lease.epoch, job.lease.ticket),
                "positions": (job.lease.positions.start, job.lease.positions.stop),
                "pulled": [(part.version, part.values._asdict()) for part in job.pulled],
                "due": job.due,
                "computed": worker in self._gradients,
            }
            for worker, job in self._jobs.items()
        ]
        return {"now": self.now, "jobs": jobs}

    def take_up(self, work: dict[str, Any]) -> dict[int, Computed | None]:
        """Takes it back; a gradient that was there already is computed again, which is exact."""
        self.now = work["now"]
        found: dict[int, Computed | None] = {}
        for told in work["jobs"]:
            worker, (number, epoch, ticket) = told["worker"], told["lease"]
            lease = Lease(number, epoch, range(*told["positions"]), worker, ticket)
            pulled = [
                Pulled(version, server.generation, Values(**values))
                for (version, values), server in zip(told["pulled"], self.servers, strict=True)
            ]
            job = _Job(lease, pulled, told["due"])
            if told["computed"]:
                self._jobs[worker] = job
                found[worker] = self._computed(worker, job)
            else:
                self._begin(worker, job)
                found[worker] = None
        return found
