"""The ledger: under any sequence of events every batch is done exactly once."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from xception.distributed.ledger import LeaseLedger
from xception.distributed.numbers import NumberSet

STEPS, PER_EPOCH, BATCH, WORKERS = 7, 3, 10, 3


class Ledger(RuleBasedStateMachine):
    """The ledger beside a plain model of it: a set of done batches, and who holds which."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = LeaseLedger(steps=STEPS, steps_per_epoch=PER_EPOCH, batch_size=BATCH)
        self.done: set[int] = set()
        self.held: dict[int, object] = {}  # by batch
        self.past: list[object] = []  # leases that are no longer held
        self.times_done: dict[int, int] = {}
        self.saved = None

    @rule(worker=st.integers(0, WORKERS - 1))
    def take(self, worker):
        lease = self.ledger.lease(worker)
        free = set(range(STEPS)) - self.done - self.held.keys()
        if lease is None:
            assert not free
            return
        assert lease.number == min(free)  # the earliest first
        assert lease.worker == worker
        assert (lease.epoch, lease.positions.start) == (lease.number // 3, lease.number % 3 * 10)
        assert len(lease.positions) == BATCH
        self.held[lease.number] = lease

    @rule(data=st.data(), outcome=st.sampled_from(["done", "dropped"]))
    def finish(self, data, outcome):
        if not self.held:
            return
        lease = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
        self.past.append(lease)
        if outcome == "done":
            assert self.ledger.complete(lease)
            self.done.add(lease.number)
        else:
            self.ledger.put_back(lease)

    @rule(data=st.data(), outcome=st.sampled_from(["complete", "put_back"]))
    def come_too_late(self, data, outcome):
        if not self.past:
            return
        lease = data.draw(st.sampled_from(self.past))
        assert not self.ledger.holds(lease)
        assert not getattr(self.ledger, outcome)(lease)

    @rule(worker=st.integers(0, WORKERS - 1))
    def die(self, worker):
        lost = self.ledger.put_back_all_of(worker)
        mine = [lease for lease in self.held.values() if lease.worker == worker]
        assert sorted(x.number for x in lost) == sorted(x.number for x in mine)
        for lease in mine:
            self.past.append(self.held.pop(lease.number))

    @rule()
    def save(self):
        self.saved = (self.ledger.snapshot(), set(self.done), dict(self.held))

    @rule(keep=st.booleans())
    def restore(self, keep):
        if self.saved is None:
            return
        state, self.done, held = self.saved[0], set(self.saved[1]), dict(self.saved[2])
        if keep:  # only a fresh ledger, of a driver that has started again, takes leases up
            self.ledger = LeaseLedger(steps=STEPS, steps_per_epoch=PER_EPOCH, batch_size=BATCH)
            self.past = []
        else:
            self.past += list(self.held.values()) + list(held.values())
            self.past = list({lease.ticket: lease for lease in self.past}.values())
            held = {}
        self.ledger.restore(state, keep_leases=keep)
        self.held = held
        self.saved = None if keep else self.saved

    @invariant()
    def agrees(self):
        assert {n for n in range(STEPS) if n in self.ledger.done} == self.done
        assert len(self.ledger.done) == len(self.done)
        assert self.ledger.is_finished == (len(self.done) == STEPS)
        assert {x.number for x in self.ledger.leased.values()} == self.held.keys()
        assert all(self.ledger.holds(lease) for lease in self.held.values())

    def teardown(self):
        """Whatever has happened: the rest can be done, each batch once, and then it is finished."""
        for worker in range(WORKERS):
            self.ledger.put_back_all_of(worker)
        rest = []
        while (lease := self.ledger.lease(0)) is not None:
            rest.append(lease.number)
            assert self.ledger.complete(lease)
        assert sorted(rest) == sorted(set(range(STEPS)) - self.done)
        assert self.ledger.is_finished


Ledger.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestLedger = Ledger.TestCase


def test_a_ticket_is_never_given_twice_not_even_after_a_restore():
    ledger = LeaseLedger(steps=3, steps_per_epoch=3, batch_size=1)
    old = ledger.lease(0)
    ledger.restore(ledger.snapshot())
    again = ledger.lease(0)
    assert again.number == old.number
    assert again.ticket != old.ticket
    assert not ledger.complete(old)
    assert ledger.complete(again)


def test_a_wanted_batch_comes_before_the_earliest():
    ledger = LeaseLedger(steps=4, steps_per_epoch=4, batch_size=1)
    leases = [ledger.lease(0) for _ in range(3)]
    for lease in leases:
        ledger.put_back(lease)
    assert ledger.waits(2)
    assert not ledger.waits(3)
    assert ledger.lease(1, 2).number == 2
    assert [ledger.lease(1).number for _ in range(3)] == [0, 1, 3]


@pytest.mark.parametrize("given_numbers", [[0, 1, 2], [2, 1, 0], [5, 0, 0, 5, 1], []])
def test_number_set_is_a_set(given_numbers):
    found, expected = NumberSet(), set()
    for number in given_numbers:
        assert found.add(number) == (number not in expected)
        expected.add(number)
        assert len(found) == len(expected)
        assert all((n in found) == (n in expected) for n in range(8))
    again = NumberSet()
    again.restore(found.snapshot())
    assert (again.floor, len(again)) == (found.floor, len(found))


def test_number_set_keeps_only_what_lies_above_a_gap():
    numbers = NumberSet()
    for number in range(10_000):
        numbers.add(number)
    assert numbers.snapshot() == {"floor": 10_000, "above": []}
