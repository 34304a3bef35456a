"""The coordinator: staleness, refusals, half-arrived pushes, and no deadlock in any schedule."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xception.distributed.admission import MOST_REFUSALS, Coordinator, Decision
from xception.distributed.ledger import LeaseLedger
from xception.distributed.shard import Verdict
from xception.errors import RunFailedError

GOOD = [Verdict.APPLIED, Verdict.APPLIED]
HALF = [Verdict.APPLIED, Verdict.NOT_FINITE]


def coordinator(steps: int = 12, **options) -> Coordinator:
    ledger = LeaseLedger(steps=steps, steps_per_epoch=4, batch_size=1)
    return Coordinator(ledger, **options)


def done(it: Coordinator, updates: int) -> None:
    for _ in range(updates):
        lease = it.lease(99)
        assert it.admit(lease, it.completed, finite=True) is Decision.PUSH
        assert it.report(lease, GOOD)


def test_staleness_is_the_updates_admitted_since_the_version():
    it = coordinator()
    done(it, 2)
    slow = it.lease(0)  # pulls version 2
    done(it, 3)
    flying = it.lease(1)
    assert it.admit(flying, 5, finite=True) is Decision.PUSH  # on its way: counts already
    assert it.admit(slow, 2, finite=True) is Decision.PUSH
    assert it.staleness == {0: 2 + 3 + 1, 4: 1}
    assert (it.completed, it.admitted, it.is_still) == (5, 7, False)


def test_a_gradient_above_the_limit_is_dropped_and_its_batch_is_the_next_to_be_leased():
    it = coordinator(max_staleness=1)
    slow = it.lease(0)
    done(it, 2)
    assert it.admit(slow, 0, finite=True) is Decision.DROP
    assert it.counts["dropped"] == 1
    assert 2 not in it.staleness
    assert it.lease(1).number == slow.number
    assert it.admit(slow, 0, finite=True) is Decision.LATE


def test_at_the_limit_it_is_not_dropped():
    it = coordinator(max_staleness=2)
    slow = it.lease(0)
    done(it, 2)
    assert it.admit(slow, 0, finite=True) is Decision.PUSH
    assert it.staleness[2] == 1


def test_with_wait_fast_workers_wait_for_a_slow_one_and_leases_are_held_back():
    it = coordinator(max_staleness=2, when_stale="wait")
    slow, second, third = it.lease(0), it.lease(1), it.lease(2)
    assert it.lease(3) is None  # the fourth would be three updates old in the worst order
    assert it.admit(second, 0, finite=True) is Decision.PUSH
    assert it.report(second, GOOD)
    fourth = it.lease(1)  # begins at version 1
    assert it.admit(third, 0, finite=True) is Decision.PUSH
    assert it.report(third, GOOD)
    # Two updates since the slow worker's version: a third would make it too late.
    assert it.admit(fourth, 1, finite=True) is Decision.WAIT
    assert it.admit(slow, 0, finite=True) is Decision.PUSH
    assert it.admit(fourth, 1, finite=True) is Decision.PUSH
    assert it.staleness == {0: 1, 1: 1, 2: 2}
    assert not it.counts


def test_nobody_waits_for_a_worker_that_died():
    it = coordinator(max_staleness=1, when_stale="wait")
    slow, fast = it.lease(0), it.lease(1)
    assert it.admit(fast, 0, finite=True) is Decision.PUSH
    assert it.report(fast, GOOD)
    next_ = it.lease(1)
    assert it.admit(next_, 1, finite=True) is Decision.WAIT  # else the slow one would be 2 old
    assert it.lose(0) == [slow]
    assert it.admit(next_, 1, finite=True) is Decision.PUSH
    assert it.lease(2).number == slow.number
    assert it.counts["lost leases"] == 1


def test_what_half_of_the_servers_have_is_finished_before_anything_new():
    it = coordinator()
    lease = it.lease(0)
    it.admit(lease, 0, finite=True)
    it.lose(0)  # died while pushing
    assert not it.is_still
    again = it.lease(1)
    assert (again.number, again.ticket != lease.ticket) == (lease.number, True)
    done(it, 2)
    it.hold_at = it.admitted  # a snapshot is due: nothing new, but this must come through
    assert it.admit(again, 0, finite=True) is Decision.PUSH
    assert it.report(again, [Verdict.DUPLICATE, Verdict.APPLIED])
    assert it.is_still
    assert sum(it.staleness.values()) == it.completed == 3  # counted once


def test_a_gradient_in_hand_is_dropped_where_it_keeps_its_worker_from_a_half_arrived_one():
    it = coordinator()
    dying, waiting = it.lease(0), it.lease(1)
    it.admit(dying, 0, finite=True)
    it.hold_at = 1
    assert it.admit(waiting, 0, finite=True) is Decision.WAIT
    it.lose(0)
    assert it.admit(waiting, 0, finite=True) is Decision.DROP
    assert it.lease(1).number == dying.number


def test_a_push_that_a_server_refused_is_computed_again_and_no_snapshot_is_taken_before():
    it = coordinator()
    lease = it.lease(0)
    it.admit(lease, 0, finite=True)
    assert not it.report(lease, HALF)
    assert it.counts == {"not finite": 1, "refused": 1}
    assert not it.is_still
    with pytest.raises(AssertionError, match="one version"):
        it.snapshot()
    again = it.lease(1)
    assert again.number == lease.number
    assert it.admit(again, 0, finite=True) is Decision.PUSH
    assert it.report(again, [Verdict.DUPLICATE, Verdict.APPLIED])
    assert (it.completed, it.is_still) == (1, True)


def test_a_report_of_a_lease_that_is_lost_changes_nothing():
    it = coordinator()
    lease = it.lease(0)
    it.admit(lease, 0, finite=True)
    it.lose(0)
    assert not it.report(lease, GOOD)
    assert (it.completed, it.counts["late"]) == (0, 1)


def test_a_second_report_counts_nothing():
    it = coordinator()
    lease = it.lease(0)
    it.admit(lease, 0, finite=True)
    assert it.report(lease, GOOD)
    assert not it.report(lease, GOOD)
    assert it.completed == 1


def test_refused_in_a_row_ends_the_run_and_a_success_begins_the_count_anew():
    it = coordinator()
    for _ in range(MOST_REFUSALS - 1):
        assert it.admit(it.lease(0), 0, finite=False) is Decision.REFUSE
    done(it, 1)  # the same batch
    for _ in range(MOST_REFUSALS - 1):
        it.admit(it.lease(0), 1, finite=False)
    with pytest.raises(RunFailedError, match="batch 1 was not finite 5 times in a row, at step 1"):
        it.admit(it.lease(0), 1, finite=False)
    assert it.counts["refused"] == 2 * MOST_REFUSALS - 1


def test_a_server_that_refuses_again_and_again_is_named_as_the_cause_and_not_the_loss():
    it = coordinator()

    def refused():
        lease = it.lease(0)
        it.admit(lease, 0, finite=True)
        it.report(lease, [Verdict.APPLIED, Verdict.WRONG_SHAPE])

    for _ in range(MOST_REFUSALS - 1):
        refused()
    with pytest.raises(RunFailedError) as told:
        refused()
    assert str(told.value) == (
        "batch 0 was refused by a server (wrong shape) 5 times in a row, at step 0"
    )


def test_after_a_restore_what_was_out_is_late():
    it = coordinator()
    done(it, 1)
    state = it.snapshot()
    lease = it.lease(0)
    done(it, 2)
    it.restore(state)
    assert it.admit(lease, 1, finite=True) is Decision.LATE
    assert (it.completed, it.staleness, it.lease(1).number) == (1, {0: 1}, 1)


def test_leases_are_part_of_the_snapshot():
    it = coordinator(max_staleness=2, when_stale="wait")
    done(it, 2)
    held = it.lease(3)
    state = it.snapshot()
    again = coordinator(max_staleness=2, when_stale="wait")
    again.restore(state, keep_leases=True)
    assert again.ledger.leased == {held.ticket: held}
    assert again.lease(4).ticket == held.ticket + 1
    assert again.admit(held, 2, finite=True) is Decision.PUSH


def play(it: Coordinator, workers: int, draw: random.Random, deaths: int) -> int:
    """Plays a whole run in a random order; returns how many events it took.

    Each worker is idle, computing, waiting or pushing to two servers; each event moves one. A
    worker that dies comes back at once.
    """
    holding: dict[int, tuple] = {}  # worker → (lease, version, what it is at, servers that have it)
    applied: list[set[int]] = [set(), set()]
    events = 0
    while not it.ledger.is_finished:
        events += 1
        assert events < 5000, "nothing moves any more"
        if it.is_still and it.hold_at == it.completed:
            assert len(applied[0]) == len(applied[1]) == it.completed  # fit for a snapshot
            it.hold_at = None
        if it.hold_at is None:
            it.hold_at = min(it.completed + 3, it.ledger.steps)
        moved = []
        for worker in range(workers):
            if worker not in holding:
                lease = it.lease(worker)
                if lease is not None:
                    holding[worker] = (lease, min(map(len, applied)), "computing", 0)
                    moved.append(worker)
        busy = [w for w in holding if holding[w][2] != "waiting"]
        waiting = [w for w in holding if holding[w][2] == "waiting"]
        for worker in waiting:  # asked again after every event, as the driver does
            lease, version, _, _ = holding[worker]
            decision = it.admit(lease, version, finite=True)
            if decision is Decision.PUSH:
                holding[worker] = (lease, version, "pushing", 0)
                moved.append(worker)
            elif decision is not Decision.WAIT:
                del holding[worker]
                moved.append(worker)
        assert busy or moved, "everybody waits"
        if not busy:
            continue
        worker = draw.choice(busy)
        if worker not in holding:
            continue
        lease, version, at, arrived = holding[worker]
        if deaths and draw.random() < 0.2:
            deaths -= 1
            it.lose(worker)
            del holding[worker]
        elif at == "computing":
            decision = it.admit(lease, version, finite=True)
            if decision is Decision.PUSH:
                holding[worker] = (lease, version, "pushing", 0)
            elif decision is Decision.WAIT:
                holding[worker] = (lease, version, "waiting", 0)
            else:
                del holding[worker]
        elif arrived < 2:
            applied[arrived].add(lease.number)
            holding[worker] = (lease, version, at, arrived + 1)
        else:
            it.report(lease, GOOD)
            del holding[worker]
    assert applied[0] == applied[1] == set(range(it.ledger.steps))
    return events


@settings(max_examples=300, deadline=None)
@given(
    workers=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    deaths=st.integers(0, 8),
    limit=st.sampled_from([None, 0, 1, 3]),
    when_stale=st.sampled_from(["drop", "wait"]),
)
def test_in_any_order_of_events_the_run_ends_and_no_gradient_is_above_the_limit(
    workers, seed, deaths, limit, when_stale
):
    it = coordinator(steps=11, max_staleness=limit, when_stale=when_stale)
    play(it, workers, random.Random(seed), deaths)
    assert sum(it.staleness.values()) == it.completed == 11
    if limit is not None:
        assert max(it.staleness) <= limit
    if when_stale == "wait" and not deaths:
        assert not it.counts["dropped"]
