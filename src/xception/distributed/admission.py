"""Who may push: staleness, refusals and leases decided once, before any server sees a gradient.

With several servers each could decide otherwise, and a gradient would be applied by halves. So one
coordinator decides for all. A worker leases a batch, pulls, computes, asks to be admitted, pushes
to every server, and reports; a batch is done when every server has it.
"""

from collections import Counter
from enum import StrEnum
from typing import Any, Literal

from xception.distributed.ledger import Lease, LeaseLedger
from xception.distributed.shard import Verdict
from xception.errors import RunFailedError

MOST_REFUSALS = 5


class Decision(StrEnum):
    """What a worker does with its gradient."""

    PUSH = "push"
    DROP = "drop"
    """Too stale: the batch went back to the ledger."""
    REFUSE = "refuse"
    """Not finite: the batch went back to the ledger."""
    WAIT = "wait"
    """Ask again when another gradient has been completed."""
    LATE = "late"
    """The lease is no longer this worker's."""


class Coordinator:
    """Leases and admissions of a run.

    Args:
        ledger: The run's batches.
        max_staleness: The most updates that may have been admitted since what a gradient was
            computed with; None: no limit.
        when_stale: "drop": a later gradient is thrown away and its batch computed again; "wait":
            gradients wait for those of slower workers, and leases are held back, so that none
            ever comes too late (stale synchronous parallel, Ho et al. 2013).
    """

    def __init__(
        self,
        ledger: LeaseLedger,
        *,
        max_staleness: int | None = None,
        when_stale: Literal["drop", "wait"] = "drop",
    ) -> None:
        if max_staleness is not None and max_staleness < 0:
            raise ValueError(
                f"asynchronous.max_staleness must be null or at least 0, not {max_staleness}"
            )
        self.ledger = ledger
        self.max_staleness = max_staleness
        self.when_stale = when_stale
        self.hold_at: int | None = None
        """No more than so many updates are admitted; all servers then stand at this version."""
        self.staleness: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self._bases: dict[int, int] = {}  # ticket → updates completed when it was leased
        self._in_flight: dict[int, Lease] = {}  # number → admitted, not yet completed
        self._refusals: Counter[int] = Counter()

    @property
    def completed(self) -> int:
        """Updates that every server has applied."""
        return len(self.ledger.done)

    @property
    def admitted(self) -> int:
        """Completed updates, and those that are on their way to the servers."""
        return self.completed + len(self._in_flight)

    @property
    def is_still(self) -> bool:
        """Whether nothing is on its way: all servers are at version ``completed``."""
        return not self._in_flight

    def lease(self, worker: int) -> Lease | None:
        """A batch for a worker; None: nothing to do for now (or at all: ``ledger.is_finished``)."""
        half = self._half()
        if half is not None:
            return self.ledger.lease(worker, half)
        if self._waits and not self._is_feasible([*self._open_bases(), self.completed], 0):
            return None
        lease = self.ledger.lease(worker)
        if lease is not None:
            self._bases[lease.ticket] = self.completed
        return lease

    def admit(self, lease: Lease, version: int, *, finite: bool) -> Decision:
        """Decides on a gradient that is ready.

        Args:
            lease: Its batch.
            version: The least of the servers' versions that it was computed with.
            finite: Whether the loss and the whole gradient are.

        Raises:
            RunFailedError: The same batch was not finite, or refused, several times in a row.
        """
        if not self.ledger.holds(lease):
            self.counts["late"] += 1
            return Decision.LATE
        if not finite:
            self._refuse(lease, f"the loss or the gradient of batch {lease.number} was not finite")
            return Decision.REFUSE
        if lease.number in self._in_flight:  # a worker died while pushing it: finish the halves
            self._in_flight[lease.number] = lease
            return Decision.PUSH
        staleness = self.admitted - version
        if self.max_staleness is not None and staleness > self.max_staleness:
            self.counts["dropped"] += 1
            self._put_back(lease)
            return Decision.DROP
        if self._must_wait(lease):
            if self._half() is None:
                return Decision.WAIT
            self.counts["dropped"] += 1  # else nobody might be left to finish the half update
            self._put_back(lease)
            return Decision.DROP
        self._in_flight[lease.number] = lease
        self.staleness[staleness] += 1
        return Decision.PUSH

    def report(self, lease: Lease, verdicts: list[Verdict]) -> bool:
        """Takes the servers' verdicts on a push; says whether the update is complete.

        What one of them refused goes back to the ledger. Servers that have applied it already
        will know it again; until all have, no snapshot is taken.
        """
        for verdict in verdicts:
            if verdict not in (Verdict.APPLIED, Verdict.DUPLICATE):
                self.counts[str(verdict)] += 1
        if not self.ledger.holds(lease):
            self.counts["late"] += 1
            return False
        if all(verdict in (Verdict.APPLIED, Verdict.DUPLICATE) for verdict in verdicts):
            self._bases.pop(lease.ticket, None)
            self._in_flight.pop(lease.number, None)
            self._refusals.pop(lease.number, None)
            return self.ledger.complete(lease)
        # Still on its way: a server may have it, whoever computes it next.
        refused = sorted({str(v) for v in verdicts} - {Verdict.APPLIED, Verdict.DUPLICATE})
        self._refuse(lease, f"batch {lease.number} was refused by a server ({', '.join(refused)})")
        return False

    def lose(self, worker: int) -> list[Lease]:
        """A worker died; its leases go back."""
        lost = self.ledger.put_back_all_of(worker)
        for lease in lost:
            self._bases.pop(lease.ticket, None)
        if lost:
            self.counts["lost leases"] += len(lost)
        return lost

    def snapshot(self) -> dict[str, Any]:
        """The ledger and the counts; only while nothing is on its way."""
        assert self.is_still, "a snapshot needs all servers at one version"
        return {
            "ledger": self.ledger.snapshot(),
            "staleness": dict(self.staleness),
            "counts": dict(self.counts),
            "bases": dict(self._bases),
            "refusals": dict(self._refusals),
        }

    def restore(self, state: dict[str, Any], *, keep_leases: bool = False) -> None:
        """Takes a snapshot back.

        Args:
            state: The snapshot.
            keep_leases: Whether the workers still have what they had then; if not, every lease
                that is out is late from now on.
        """
        self.ledger.restore(state["ledger"], keep_leases=keep_leases)
        self.staleness, self.counts = Counter(state["staleness"]), Counter(state["counts"])
        self._bases = dict(state["bases"]) if keep_leases else {}
        self._refusals = Counter(state["refusals"])
        self._in_flight.clear()
        self.hold_at = None

    @property
    def mean_staleness(self) -> float:
        """Of all updates so far; 0 before the first one."""
        weighted = sum(staleness * n for staleness, n in self.staleness.items())
        return weighted / max(self.staleness.total(), 1)

    def describe(self) -> dict[str, Any]:
        """The histogram of the staleness and its mean, and what was counted."""
        return {
            "mean_staleness": round(self.mean_staleness, 4),
            "staleness": {str(k): n for k, n in sorted(self.staleness.items())},
            "counts": {name: n for name, n in sorted(self.counts.items()) if n},
        }

    def _half(self) -> int | None:
        """A batch that a worker died with while pushing: some servers may have it already."""
        return next((n for n in self._in_flight if self.ledger.waits(n)), None)

    def _must_wait(self, lease: Lease) -> bool:
        if self.hold_at is not None and self.admitted >= self.hold_at:
            return True
        return self._waits and not self._is_feasible(self._open_bases(without=lease), 1)

    @property
    def _waits(self) -> bool:
        return self.max_staleness is not None and self.when_stale == "wait"

    def _open_bases(self, without: Lease | None = None) -> list[int]:
        """For every lease that is not admitted yet, the updates completed when it was given."""
        flying = {lease.ticket for lease in self._in_flight.values()}
        skipped = flying if without is None else flying | {without.ticket}
        return [base for ticket, base in self._bases.items() if ticket not in skipped]

    def _is_feasible(self, bases: list[int], more: int) -> bool:
        """Whether all open leases can be admitted in time, the oldest first, after some more."""
        assert self.max_staleness is not None
        first = self.admitted + more
        limits = (first + i - base for i, base in enumerate(sorted(bases)))
        return all(staleness <= self.max_staleness for staleness in limits)

    def _put_back(self, lease: Lease) -> None:
        self._bases.pop(lease.ticket, None)
        self.ledger.put_back(lease)

    def _refuse(self, lease: Lease, what: str) -> None:
        self.counts["refused"] += 1
        self._refusals[lease.number] += 1
        self._put_back(lease)
        if self._refusals[lease.number] >= MOST_REFUSALS:
            raise RunFailedError(f"{what} {MOST_REFUSALS} times in a row, at step {self.completed}")
