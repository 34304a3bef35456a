"""What a cluster of workers and parameter servers does, and what it tells.

A simulated one (`xception.distributed.simulator`) and one of Ray's processes
(`xception.distributed.ray_cluster`) are driven alike by `xception.distributed.asynchronous`.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from xception.distributed.gradient_worker import Report
from xception.distributed.layout import Values
from xception.distributed.ledger import Lease
from xception.distributed.shard import Verdict


@dataclass(frozen=True)
class Computed:
    """A worker has a gradient."""

    worker: int
    lease: Lease
    report: Report


@dataclass(frozen=True)
class Pushed:
    """A worker's push has reached every server."""

    worker: int
    lease: Lease
    verdicts: list[Verdict]


@dataclass(frozen=True)
class WorkerReady:
    """A worker has nothing to do: it has started, or a server failed it."""

    worker: int


@dataclass(frozen=True)
class WorkerLost:
    """A worker died."""

    worker: int
    reason: str = ""


@dataclass(frozen=True)
class ServersLost:
    """Servers died; those that replace them are empty."""

    indices: tuple[int, ...]
    reason: str = ""


class ServersDied(Exception):
    """Servers died while they were asked for their state; those that replace them are empty.

    Args:
        indices: Which.
        reason: Why the first of them did.
    """

    def __init__(self, indices: tuple[int, ...], reason: str = "") -> None:
        super().__init__(f"servers {indices} died")
        self.indices, self.reason = indices, reason


Event = Computed | Pushed | WorkerReady | WorkerLost | ServersLost


class Cluster(Protocol):
    """Workers and servers, wherever they run."""

    def compute(self, worker: int, lease: Lease) -> None:
        """Starts a pull and a gradient; a `Computed` follows."""

    def push(self, worker: int, lease: Lease) -> None:
        """Sends the gradient to every server; a `Pushed` follows."""

    def next_event(self) -> Event | None:
        """Waits for the next; None: nothing came for a while."""

    def averages(self) -> list[Values]:
        """Every server's averaged slice; may raise `ServersDied`."""

    def snapshots(self) -> list[dict[str, Any]]:
        """Every server's state; may raise `ServersDied`."""

    def restore(self, states: list[dict[str, Any]], generation: int) -> None:
        """Puts all servers back to a snapshot."""


@runtime_checkable
class TakesUpWork(Protocol):
    """A cluster whose workers can go on in the middle of what they did; others begin anew."""

    def work(self) -> dict[str, Any]:
        """What the workers are at, as tensors and primitives."""

    def take_up(self, work: dict[str, Any]) -> dict[int, Computed | None]:
        """Takes it back, after `Cluster.restore`.

        Returns:
            For each worker that is at something what it has computed already; None: a `Computed`
            follows.
        """
