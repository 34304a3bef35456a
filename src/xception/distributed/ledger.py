"""The ledger of leases: which worker computes which batch, so that every sample is used once.

A batch is a range of places in the epoch's order (`xception.data.order`); its number counts over
the whole run. It is waiting, leased to a worker, or done. A lease whose gradient was dropped or
refused, and those of a worker that died, go back and are handed out again before new ones.
"""

import heapq
from dataclasses import dataclass
from typing import Any

from xception.distributed.numbers import NumberSet


@dataclass(frozen=True)
class Lease:
    """A batch in the hands of a worker.

    Attributes:
        number: The batch, counted over the whole run.
        epoch: Its epoch, from 0.
        positions: Its places in the epoch's order.
        worker: Who has it.
        ticket: Different for every lease: a batch that is leased again has another.
    """

    number: int
    epoch: int
    positions: range
    worker: int
    ticket: int


class LeaseLedger:
    """Hands out the batches of a run, each until it is done.

    Args:
        steps: Batches in the run.
        steps_per_epoch: Batches in an epoch.
        batch_size: Samples in a batch.

    Example:
        >>> ledger = LeaseLedger(steps=2, steps_per_epoch=2, batch_size=10)
        >>> first, second = ledger.lease(0), ledger.lease(1)
        >>> ledger.put_back(first), ledger.lease(1).number, second.positions
        (None, 0, range(10, 20))
    """

    def __init__(self, *, steps: int, steps_per_epoch: int, batch_size: int) -> None:
        assert steps >= 0
        assert steps_per_epoch >= 1
        self.steps, self.steps_per_epoch, self.batch_size = steps, steps_per_epoch, batch_size
        self.done = NumberSet()
        self.leased: dict[int, Lease] = {}
        """By ticket."""
        self._returned: list[int] = []  # a heap: the earliest batch first
        self._next = 0
        self._tickets = 0

    @property
    def is_finished(self) -> bool:
        """Whether every batch is done."""
        return len(self.done) == self.steps

    def waits(self, number: int) -> bool:
        """Whether a batch that was handed out before waits again."""
        return number in self._returned

    def lease(self, worker: int, wanted: int | None = None) -> Lease | None:
        """Hands out the earliest waiting batch; None where none waits.

        Args:
            worker: Who gets it.
            wanted: A batch for which `waits` is true, instead of the earliest.
        """
        if wanted is not None:
            number = wanted
            self._returned.remove(number)
            heapq.heapify(self._returned)
        elif self._returned:
            number = heapq.heappop(self._returned)
        elif self._next < self.steps:
            number, self._next = self._next, self._next + 1
        else:
            return None
        self._tickets += 1
        lease = self._lease(number, worker, self._tickets)
        self.leased[lease.ticket] = lease
        return lease

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is still its worker's."""
        return lease.ticket in self.leased

    def put_back(self, lease: Lease) -> None:
        """The batch waits again; a lease that is not held any more changes nothing."""
        if self.leased.pop(lease.ticket, None) is not None:
            heapq.heappush(self._returned, lease.number)

    def put_back_all_of(self, worker: int) -> list[Lease]:
        """What a worker that died had: it waits again."""
        lost = [lease for lease in self.leased.values() if lease.worker == worker]
        for lease in lost:
            self.put_back(lease)
        return lost

    def complete(self, lease: Lease) -> bool:
        """The batch is done, all servers have applied it; says whether the lease was held."""
        if self.leased.pop(lease.ticket, None) is None:
            return False
        return self.done.add(lease.number)

    def snapshot(self) -> dict[str, Any]:
        """What is done, what was handed out, and to whom."""
        return {
            "done": self.done.snapshot(),
            "leases": [(lease.number, lease.worker, lease.ticket) for lease in self._by_ticket()],
            "next": self._next,
            "tickets": self._tickets,
        }

    def restore(self, state: dict[str, Any], *, keep_leases: bool = False) -> None:
        """Takes a snapshot back.

        Args:
            state: The snapshot.
            keep_leases: Whether the workers still have what they had. If not, no lease is held any
                more, and those batches wait again.
        """
        self.done.restore(state["done"])
        self._next = int(state["next"])
        self.leased.clear()
        if keep_leases:
            self._tickets = int(state["tickets"])
            for number, worker, ticket in state["leases"]:
                self.leased[ticket] = self._lease(number, worker, ticket)
        kept = {lease.number for lease in self.leased.values()}
        handed_out = range(self.done.floor, self._next)
        self._returned = [n for n in handed_out if n not in self.done and n not in kept]

    def _by_ticket(self) -> list[Lease]:
        return sorted(self.leased.values(), key=lambda lease: lease.ticket)

    def _lease(self, number: int, worker: int, ticket: int) -> Lease:
        epoch, step = divmod(number, self.steps_per_epoch)
        start = step * self.batch_size
        return Lease(number, epoch, range(start, start + self.batch_size), worker, ticket)
