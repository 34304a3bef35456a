"""What dies in a simulated cluster, what is interrupted, what is not finite: nothing is lost."""

import math
import re
from dataclasses import replace

import pytest
import torch
from simulation import STEPS, assert_every_sample_once, assert_same, simulate

from xception.distributed.shard import Verdict
from xception.distributed.simulator import Crash
from xception.errors import RunFailedError
from xception.training.interruption import RunInterrupted


@pytest.mark.parametrize("when_stale", ["drop", "wait"])
@pytest.mark.parametrize("seed", range(6))
def test_workers_that_die_lose_no_sample_and_stop_nobody(build_run, when_stale, seed, capsys):
    draw = torch.Generator().manual_seed(seed)
    times = torch.rand(6, generator=draw) * 6
    crashes = [
        Crash(float(time), worker=i % 3, seconds=0.3 + i / 4) for i, time in enumerate(times)
    ]
    simulation = simulate(
        build_run(),
        3,
        jitter=0.3,
        push_seconds=0.5,  # half of the time a worker is pushing: some die with half a push
        shards=4,
        crashes=crashes,
        max_staleness=3,
        when_stale=when_stale,
    )
    assert simulation.counts["lost workers"] == 6
    assert max(simulation.staleness) <= 3
    assert sum(simulation.staleness.values()) == STEPS
    assert_every_sample_once(simulation)
    assert len(re.findall(r"worker \d died \(simulated\)", capsys.readouterr().out)) == 6


def test_a_worker_that_dies_with_half_a_push_is_finished_by_another_and_counts_once(build_run):
    # One second for a gradient, one for a push to four servers: at 1.6 two of them have it.
    simulation = simulate(
        build_run(), 2, push_seconds=1.0, shards=4, crashes=[Crash(1.6, worker=0, seconds=50)]
    )
    assert_every_sample_once(simulation)
    assert simulation.counts["lost leases"] == 1
    assert len(simulation.indices[0]) == 2  # computed twice
    refused = [server.refused[Verdict.DUPLICATE] for server in simulation.cluster.servers]
    assert refused == [1, 1, 0, 0]


@pytest.mark.parametrize("when_stale", ["drop", "wait"])
def test_the_only_worker_left_finishes_the_half_push_of_one_that_died_at_a_snapshot(
    build_run, when_stale
):
    # The dead worker's push is the last before a snapshot: the other may push nothing new until
    # it is complete, and has a gradient of its own in hand.
    for time in (4.6, 5.6, 6.6, 8.6, 9.6):
        simulation = simulate(
            build_run(),
            2,
            push_seconds=1.0,
            shards=4,
            crashes=[Crash(time, worker=0, seconds=1000)],
            max_staleness=4,
            when_stale=when_stale,
        )
        assert_every_sample_once(simulation)


def test_a_server_that_dies_is_restored_with_all_others_to_one_version(build_run, capsys):
    # A snapshot after every third update, a row after every second; at 8.9 eight are completed,
    # and the row of the eighth belongs to what is lost.
    simulation = simulate(
        build_run(checkpoint_every=3), 1, shards=3, crashes=[Crash(8.9, server=1)]
    )
    assert_every_sample_once(simulation)
    assert simulation.restored == [[6, 6, 6]]  # all servers at one version
    assert simulation.counts["lost servers"] == 1
    assert simulation.counts["updates lost with servers"] == 2  # 8 done, snapshot at 6
    assert (
        "step 8: server 1 died; all servers are back at the snapshot of step 6: 2 updates lost, "
        "and computed again"
    ) in capsys.readouterr().out
    undisturbed = simulate(build_run(checkpoint_every=3), 1, shards=3)
    assert_same(simulation.average, undisturbed.average)
    assert simulation.rows() == undisturbed.rows()


def test_a_worker_that_waits_when_a_server_dies_is_given_work_again(build_run):
    # A snapshot at every update, a push takes a second: at 1.5 worker 0 pushes and worker 1 waits.
    # Then worker 0 is gone for good.
    simulation = simulate(
        build_run(checkpoint_every=1),
        2,
        push_seconds=1.0,
        crashes=[Crash(1.5, server=0), Crash(1.6, worker=0, seconds=1e6)],
    )
    assert_every_sample_once(simulation)
    assert simulation.cluster.now < 100  # and not by the first one, when it came back


@pytest.mark.parametrize("seed", range(4))
def test_no_more_updates_are_lost_than_lie_between_two_snapshots(build_run, seed):
    draw = torch.Generator().manual_seed(seed)
    crashes = [Crash(float(t), server=i) for i, t in enumerate(torch.rand(3, generator=draw) * 5)]
    simulation = simulate(
        build_run(checkpoint_every=3), 4, jitter=0.4, push_seconds=0.3, shards=3, crashes=crashes
    )
    assert simulation.counts["lost servers"] == 3
    # Snapshots at multiples of 3 and 5: at most three updates lie between, the last not complete.
    assert 0 <= simulation.counts["updates lost with servers"] <= 3 * 3
    assert_every_sample_once(simulation)
    assert sum(simulation.staleness.values()) == STEPS


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("interrupt_at", [1, 4, 7, 12, 14])
def test_an_interrupted_run_that_goes_on_ends_as_an_undisturbed_one(
    build_run, tmp_path, workers, interrupt_at
):
    options = {"workers": workers, "jitter": 0.5, "shards": 2}
    undisturbed = simulate(build_run(), **options)
    directory, applied = tmp_path / "interrupted", {}
    interrupted = build_run(directory=directory)
    with pytest.raises(RunInterrupted) as stop:
        simulate(interrupted, interrupt_at=interrupt_at, applied=applied, **options)
    assert (stop.value.step, stop.value.exit_code) == (len(applied[0]), 130)
    assert interrupt_at - workers <= stop.value.step <= interrupt_at  # at once, not at the end
    going_on = simulate(build_run(directory=directory), resume=True, applied=applied, **options)
    assert_same(going_on.average, undisturbed.average)
    assert going_on.rows() == undisturbed.rows()
    assert going_on.staleness == undisturbed.staleness
    assert sorted(applied[0]) == sorted(applied[1]) == list(range(STEPS))


def test_a_signal_at_the_last_gradient_finishes_the_run(build_run):
    simulation = simulate(build_run(), interrupt_at=STEPS)
    assert_same(simulation.average, simulate(build_run()).average)


def test_a_driver_that_died_after_the_last_update_computes_nothing_again(build_run, tmp_path):
    finished = simulate(build_run(directory=tmp_path / "run"), 3, jitter=0.5)
    again = simulate(build_run(directory=tmp_path / "run"), 3, jitter=0.5, resume=True)
    assert_same(again.average, finished.average)
    assert again.rows() == finished.rows()
    assert not again.indices


def test_a_driver_that_died_goes_on_from_the_snapshot_and_ends_the_same(build_run, tmp_path):
    def die(lease, report, pushes):
        if lease.number == 9:
            raise KeyboardInterrupt  # as good as a kill: nothing is saved
        return report, pushes

    options = {"workers": 3, "jitter": 0.5, "max_staleness": 3, "when_stale": "wait"}
    undisturbed = simulate(build_run(checkpoint_every=2), **options)
    directory = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        simulate(build_run(checkpoint_every=2, directory=directory), spoil=die, **options)
    going_on = simulate(build_run(checkpoint_every=2, directory=directory), resume=True, **options)
    assert_same(going_on.average, undisturbed.average)
    assert going_on.rows() == undisturbed.rows()


def test_a_gradient_that_is_not_finite_is_refused_counted_and_computed_again(build_run):
    spoiled = []

    def spoil(lease, report, pushes):
        if lease.number == 4 and len(spoiled) < 2:
            spoiled.append(lease.number)
            return replace(report, finite=False, loss=math.nan), pushes
        return report, pushes

    simulation = simulate(build_run(), 2, spoil=spoil)
    assert simulation.counts["refused"] == 2
    assert len(simulation.indices[4]) == 3
    assert_every_sample_once(simulation)
    assert all(bool(tensor.isfinite().all()) for tensor in simulation.average.values())


def test_a_batch_that_is_never_finite_ends_the_run_in_one_sentence(build_run):
    def spoil(lease, report, pushes):
        return replace(report, finite=report.finite and lease.number != 4), pushes

    with pytest.raises(RunFailedError) as failure:
        simulate(build_run(), 2, spoil=spoil)
    assert re.fullmatch(
        r"the loss or the gradient of batch 4 was not finite 5 times in a row, at step \d+",
        str(failure.value),
    )
