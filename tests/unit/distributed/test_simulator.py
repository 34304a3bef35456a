"""The simulated cluster: synchronous training bit by bit, and the same every time."""

import math

import pytest
import torch
from simulation import (
    EPOCHS,
    NOT_OF_THE_RESULT,
    STEPS,
    STEPS_PER_EPOCH,
    assert_every_sample_once,
    assert_same,
    simulate,
)

from xception.distributed.gradient_worker import training_batches
from xception.distributed.layout import Layout
from xception.distributed.simulator import jittered
from xception.training.fit import Run, fit, prepare
from xception.training.metrics_file import read_rows
from xception.training.optimizers import OPTIMIZERS, set_learning_rate


def train_synchronously(run: Run):
    """The same run by Lightning: averaged weights, last weights, rows."""
    trainer = {
        "max_epochs": run.total_steps // STEPS_PER_EPOCH,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "log_every_n_steps": 2,
    }
    fit(prepare(run, trainer), None)
    average = {k: v.clone() for k, v in run.classifier.model.state_dict().items()}
    last = torch.load(run.directory.checkpoints / "last.ckpt", weights_only=True)["state_dict"]
    run.classifier.load_state_dict(last)
    rows = read_rows(run.directory.metrics)
    rows = [{k: v for k, v in row.items() if k not in NOT_OF_THE_RESULT} for row in rows]
    return average, rows


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
@pytest.mark.parametrize("shards", [1, 3])
def test_one_worker_without_delay_is_synchronous_training_bit_by_bit(build_run, optimizer, shards):
    reference = build_run(optimizer)
    average, rows = train_synchronously(reference)
    simulation = simulate(build_run(optimizer), shards=shards)
    assert_same(simulation.average, average)
    assert any("running_mean" in name for name in average)
    expected = Layout(reference.classifier.model, reference.classifier.groups).read()
    for found, wanted in zip(simulation.state(), expected, strict=True):
        assert torch.equal(found, wanted)
    assert simulation.rows() == rows
    assert len(rows) == STEPS // 2 + EPOCHS
    assert simulation.staleness == {0: STEPS}
    moved = (simulation.average["dense.weight"] - build_run().classifier.model.dense.weight).abs()
    assert moved.max() > 1e-3  # else the equality would say nothing


def test_one_worker_without_averaging_ends_with_synchronous_trainings_last_weights(build_run):
    average, _ = train_synchronously(build_run(decay=None))
    assert_same(simulate(build_run(decay=None), shards=2).average, average)


def test_four_jittered_workers_have_the_same_result_every_time_and_another_than_one(build_run):
    first, second = (
        simulate(build_run(), 4, jitter=0.5, push_seconds=0.2, shards=2) for _ in range(2)
    )
    assert_same(first.average, second.average)
    assert first.rows() == second.rows()
    assert first.staleness == second.staleness
    assert max(first.staleness) > 3, "jitter lets a slow worker be overtaken more than once"
    alone = simulate(build_run(), 1)
    assert not torch.equal(first.average["dense.weight"], alone.average["dense.weight"])
    assert_every_sample_once(first)


def test_workers_of_equal_speed_take_turns_and_each_gradient_is_three_updates_old(build_run):
    # All four begin with version 0: their gradients are 0, 1, 2 and 3 updates old. From then on
    # the three others come between a worker's pull and its push. 15 updates in all.
    simulation = simulate(build_run(), 4)
    assert simulation.staleness == {0: 1, 1: 1, 2: 1, 3: 12}
    assert simulation.cluster.servers[0].staleness == simulation.staleness


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_four_equal_workers_are_gradient_descent_with_a_delay_of_three_updates(
    build_run, optimizer
):
    """A plain loop over old weights, without servers, slices or events, ends with the same bits."""
    run = build_run(optimizer)
    classifier, batches = run.classifier.train(), training_batches(run.data)
    model = classifier.model
    descent = OPTIMIZERS[optimizer](classifier.groups)
    keep = {"features.1": 0.9, "features.4": 0.7}
    history = [{name: tensor.clone() for name, tensor in model.state_dict().items()}]
    for step in range(STEPS):
        old, now = history[max(0, step - 3)], history[-1]
        model.load_state_dict(old)
        classifier.zero_grad()
        classifier.seed_batch(step)
        epoch, place = divmod(step, STEPS_PER_EPOCH)
        classifier.batch_loss(batches[epoch, range(place * 7, place * 7 + 7)]).backward()
        after = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(now)
        set_learning_rate(descent, classifier.current_learning_rate(step))
        descent.step()
        for name, tensor in model.state_dict().items():
            layer, _, kind = name.rpartition(".")
            if kind.startswith("running"):
                tensor.copy_(after[name] + keep[layer] * (now[name] - old[name]))
            elif kind == "num_batches_tracked":
                tensor.fill_(step + 1)
        history.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    simulation = simulate(build_run(optimizer, decay=None), 4, shards=2)
    assert simulation.staleness == {0: 1, 1: 1, 2: 1, 3: 12}
    assert_same(simulation.average, history[-1])


def test_staleness_of_a_scripted_schedule_is_as_counted_by_hand(build_run):
    # A gradient takes worker 0 one second and worker 1 three and four tenths.
    #   time      worker  pulled  finds  staleness
    #   1, 2, 3   0       0 1 2   0 1 2  0 0 0
    #   3.4       1       0       3      3
    #   4         0       3       4      1
    #   5, 6      0       5 6     5 6    0 0
    #   6.8       1       4       7      3
    #   7         0       7       8      1
    #   8, 9, 10  0       9 10 11 ...    0 0 0
    #   10.2      1       8       12     4        and takes the last batch
    #   11        0       12      13     1
    #   13.6      1       13      14     1
    simulation = simulate(build_run(), 2, durations=lambda worker, ticket: 3.4 if worker else 1.0)
    assert simulation.staleness == {0: 8, 1: 4, 3: 2, 4: 1}
    assert simulation.cluster.now == pytest.approx(13.6)
    assert simulation.asynchronous.describe()["mean_staleness"] == round(14 / 15, 4)
    assert_every_sample_once(simulation)


@pytest.mark.parametrize("push_seconds", [0.0, 0.4])
def test_nothing_is_later_than_max_staleness_whether_dropped_or_waited_for(build_run, push_seconds):
    for when_stale in ("drop", "wait"):
        simulation = simulate(
            build_run(),
            5,
            jitter=0.6,
            push_seconds=push_seconds,
            shards=2,
            max_staleness=2,
            when_stale=when_stale,
        )
        assert max(simulation.staleness) == 2
        assert (simulation.counts["dropped"] > 0) == (when_stale == "drop")
        assert_every_sample_once(simulation)


def test_without_a_limit_the_same_workers_are_later(build_run):
    simulation = simulate(build_run(), 5, jitter=0.6, shards=2)
    assert max(simulation.staleness) > 4
    assert not simulation.counts["dropped"]


def test_no_staleness_at_all_is_synchronous_training_with_idle_workers(build_run):
    alone = simulate(build_run(), 1)
    for when_stale in ("drop", "wait"):
        limited = simulate(build_run(), 3, jitter=0.4, max_staleness=0, when_stale=when_stale)
        assert limited.staleness == {0: STEPS}
        if when_stale == "wait":  # batches in order: only one is out at a time
            assert_same(limited.average, alone.average)
        assert_every_sample_once(limited)


def test_batch_norm_statistics_are_the_moving_average_over_all_workers_batches(build_run):
    """Each worker's batch statistics enter once, in the order of arrival, whatever it pulled."""
    seen: dict[int, torch.Tensor] = {}

    def note(lease, report, pushes):
        keep = simulated_keep
        # after = keep · before + momentum · batch, so momentum · batch = after - keep · before
        seen[lease.number] = (pushes[0].after - keep * pushes[0].before).double()
        return report, pushes

    run = build_run()
    simulated_keep = torch.tensor([0.9] * 8 + [0.7] * 12)  # 4 and 6 channels, mean and variance
    start = torch.tensor([0.0] * 4 + [1.0] * 4 + [0.0] * 6 + [1.0] * 6).double()
    simulation = simulate(run, 4, jitter=0.5, spoil=note)
    expected = start
    for number in simulation.applied[0]:
        expected = simulated_keep.double() * expected + seen[number]
    found = simulation.cluster.servers[0].values
    # 15 updates of float32 numbers near 1: rounding of about 1e-7 each.
    torch.testing.assert_close(found.statistics.double(), expected, rtol=0, atol=3e-6)
    assert found.counters.tolist() == [STEPS, STEPS]
    assert (found.statistics - start).abs().max() > 0.01


def test_a_time_is_drawn_by_seed_worker_and_ticket():
    durations = jittered(0.5, 1)
    assert durations(0, 1) == durations(0, 1) == jittered(0.5, 1)(0, 1)
    assert len({durations(0, 1), durations(1, 1), durations(0, 2), jittered(0.5, 2)(0, 1)}) == 4
    assert jittered(0.0)(3, 4) == 1.0
    logs = torch.tensor([math.log(durations(0, ticket)) for ticket in range(4000)])
    # 4,000 draws: the mean is known to 0.5 / sqrt(4000) = 0.008, the deviation to 0.006.
    assert abs(float(logs.mean())) < 0.03
    assert float(logs.std()) == pytest.approx(0.5, abs=0.03)
