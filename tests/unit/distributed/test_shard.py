"""A parameter server: TensorFlow-style updates done by hand, and what it refuses."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from xception.distributed.layout import ShardPlan, Values
from xception.distributed.shard import ParameterShard, Push, Verdict
from xception.training.optimizers import rmsprop, sgd
from xception.training.schedules import LearningRate, exponential

NOTHING = torch.zeros(0)
NO_COUNTERS = torch.zeros(0, dtype=torch.int64)
WEIGHTS = [0.5, -1.25, 2.0, 0.1, -0.3]
DECAYS = [0.02, 0.02, 0.0, 0.0, 0.02]  # three runs of parameters in two groups
RUNS = ((2, 0), (2, 1), (1, 0))
GRADIENTS = [  # of six pushes
    [0.1, -0.2, 0.3, -0.4, 0.5],
    [-0.3, 0.2, 0.0, 1.5, -2.0],
    [0.7, 0.1, -0.9, 0.2, 0.05],
    [0.2, -1.1, 0.6, -0.3, 0.8],
    [-0.6, 0.4, 0.2, 0.9, -0.1],
    [1.3, 0.5, -0.4, -0.7, 0.3],
]
PULLED = [0, 0, 1, 1, 4, 2]  # the version that each was computed with: two workers


def server(
    optimizer: Callable = rmsprop,
    *,
    learning_rate: Callable[[int], float] = lambda step: 0.1,
    polyak_decay: float | None = None,
    statistics: Tensor = NOTHING,
    keep: Tensor = NOTHING,
    counters: Tensor = NO_COUNTERS,
    **options,
) -> ParameterShard:
    plan = ShardPlan(0, RUNS, ({"weight_decay": 0.02}, {"weight_decay": 0.0}), keep, len(counters))
    return ParameterShard(
        plan,
        Values(torch.tensor(WEIGHTS), statistics, counters),
        build_optimizer=optimizer,
        learning_rate=learning_rate,
        polyak_decay=polyak_decay,
        **options,
    )


def push_of(number: int, version: int = 0, gradient=None, generation: int = 0, **more) -> Push:
    given = torch.tensor(GRADIENTS[number % 6]) if gradient is None else gradient
    values = {"before": NOTHING, "after": NOTHING, "counted": NO_COUNTERS} | more
    return Push(number, version, generation, given, **values)


def tensorflow_rmsprop(rates: list[float], eps: float, decay=0.9, momentum=0.9):
    """ApplyRMSProp of TensorFlow, one number after the other, in double precision.

    ms ← decay·ms + (1-decay)·g²;  mom ← momentum·mom + lr·g/√(ms + eps);  w ← w - mom, with ms = 1
    at first, and g with the weight decay in it, as the gradient of a loss with ½·d·w² has.
    """
    weights = list(WEIGHTS)
    square, moment = [1.0] * 5, [0.0] * 5
    for gradient, rate in zip(GRADIENTS, rates, strict=True):
        for i in range(5):
            g = gradient[i] + DECAYS[i] * weights[i]
            square[i] = decay * square[i] + (1 - decay) * g * g
            moment[i] = momentum * moment[i] + rate * g / math.sqrt(square[i] + eps)
            weights[i] -= moment[i]
    return weights


def test_six_pushes_are_tensorflows_rmsprop_done_by_hand_with_the_schedule_of_global_samples():
    # jft-xception's schedule in small: × 0.9 every 8 samples, with batches of 4.
    schedule = LearningRate(0.05, exponential(factor=0.9, every=8, unit="samples"), 4, 400, 4000)
    it = server(learning_rate=schedule)
    for number, version in enumerate(PULLED):
        assert it.push(push_of(number, version)) is Verdict.APPLIED
    rates = [0.05, 0.05, 0.045, 0.045, 0.0405, 0.0405]  # by hand: two batches to eight samples
    expected = tensorflow_rmsprop(rates, eps=1.0)
    # Six float32 steps on numbers below 2.5: a few times 1.2e-7.
    torch.testing.assert_close(
        it.values.parameters.double(), torch.tensor(expected).double(), rtol=2e-6, atol=1e-6
    )
    other = tensorflow_rmsprop(rates, eps=0.001)
    assert max(abs(a - b) for a, b in zip(expected, other, strict=True)) > 0.01
    assert it.version == 6


def test_the_staleness_of_each_push_is_counted():
    it = server()
    for number, version in enumerate(PULLED):
        it.push(push_of(number, version))
    # Update n finds version n; computed with 0, 0, 1, 1, 4, 2: 0, 1, 1, 2, 0, 3.
    assert it.staleness == {0: 2, 1: 2, 2: 1, 3: 1}


def test_a_staleness_aware_rate_is_divided_by_the_staleness():
    it = server(staleness_aware=True, learning_rate=lambda step: 0.06 - 0.01 * step)
    for number, version in enumerate(PULLED):
        it.push(push_of(number, version))
    # Staleness 0, 1, 1, 2, 0, 3 (above); 0 and 1 leave the rate alone.
    rates = [0.06, 0.05, 0.04, 0.03 / 2, 0.02, 0.01 / 3]
    expected = torch.tensor(tensorflow_rmsprop(rates, eps=1.0)).double()
    torch.testing.assert_close(it.values.parameters.double(), expected, rtol=2e-6, atol=1e-6)


def test_pushes_are_sgd_with_momentum_done_by_hand():
    it = server(sgd)
    weights, moment = list(WEIGHTS), [0.0] * 5
    for number, version in enumerate(PULLED):
        it.push(push_of(number, version))
        for i in range(5):
            g = GRADIENTS[number][i] + DECAYS[i] * weights[i]
            moment[i] = 0.9 * moment[i] + g
            weights[i] -= 0.1 * moment[i]
    torch.testing.assert_close(
        it.values.parameters.double(), torch.tensor(weights).double(), rtol=2e-6, atol=1e-6
    )


def test_the_polyak_average_is_the_one_done_by_hand():
    it = server(sgd, polyak_decay=0.3)
    average = torch.tensor(WEIGHTS).double()
    for number in range(6):
        it.push(push_of(number, number))
        decay = min(0.3, (1 + number) / (10 + number))  # TensorFlow's warm-up
        average = decay * average + (1 - decay) * it.values.parameters.double()
    torch.testing.assert_close(it.average().parameters.double(), average, rtol=2e-6, atol=1e-6)
    assert not torch.equal(it.average().parameters, it.values.parameters)


def test_without_averaging_the_average_is_the_last_value_and_a_copy():
    it = server()
    it.push(push_of(0))
    average = it.average()
    assert torch.equal(average.parameters, it.values.parameters)
    average.parameters.zero_()
    assert it.values.parameters.any()


def test_moving_statistics_of_two_workers_are_merged_by_hand():
    # Momentum 0.1 and 0.3. Both workers pull (2, 4). Their batches have statistics (5, 1) and
    # (3, 9). The first: 0.9·2 + 0.1·5 = 2.3, 0.7·4 + 0.3·1 = 3.1. The second's are moved on from
    # there: 0.9·2.3 + 0.1·3 = 2.37, 0.7·3.1 + 0.3·9 = 4.87.
    pulled, keep = torch.tensor([2.0, 4.0]), torch.tensor([0.9, 0.7])
    it = server(statistics=pulled.clone(), keep=keep, counters=torch.tensor([7]))
    for number, batch in enumerate(([5.0, 1.0], [3.0, 9.0])):
        after = keep * pulled + (1 - keep) * torch.tensor(batch)
        counted = torch.tensor([1])
        it.push(push_of(number, 0, before=pulled, after=after, counted=counted))
    # float32: six digits.
    torch.testing.assert_close(it.values.statistics, torch.tensor([2.37, 4.87]), rtol=1e-6, atol=0)
    assert it.values.counters.tolist() == [9]


def test_statistics_are_taken_bit_by_bit_where_nothing_came_between():
    before, after = torch.tensor([0.1, 0.7]), torch.tensor([0.123456, 0.654321])
    it = server(statistics=before, keep=torch.tensor([0.9, 0.9]), counters=torch.tensor([0]))
    it.push(push_of(0, before=before, after=after, counted=torch.tensor([1])))
    assert torch.equal(it.values.statistics, after)


WITH_STATISTICS = {
    "statistics": torch.tensor([1.0, 2.0]),
    "keep": torch.tensor([0.9, 0.9]),
    "counters": torch.tensor([3]),
}
GOOD = push_of(
    1,
    version=1,
    before=torch.tensor([1.0, 2.0]),
    after=torch.tensor([1.5, 2.5]),
    counted=torch.tensor([1]),
)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"number": 0}, Verdict.DUPLICATE),
        ({"version": 2}, Verdict.WRONG_VERSION),  # of the future
        ({"version": -1}, Verdict.WRONG_VERSION),
        ({"generation": 1}, Verdict.WRONG_VERSION),
        ({"gradient": torch.zeros(4)}, Verdict.WRONG_SHAPE),
        ({"gradient": torch.zeros(6)}, Verdict.WRONG_SHAPE),
        ({"gradient": torch.zeros(5, 1)}, Verdict.WRONG_SHAPE),
        ({"gradient": torch.zeros(5, dtype=torch.int64)}, Verdict.WRONG_SHAPE),
        ({"before": torch.zeros(1)}, Verdict.WRONG_SHAPE),
        ({"after": torch.zeros(3)}, Verdict.WRONG_SHAPE),
        ({"counted": torch.zeros(1)}, Verdict.WRONG_SHAPE),
        ({"counted": torch.zeros(2, dtype=torch.int64)}, Verdict.WRONG_SHAPE),
        ({"gradient": torch.tensor([0, 0, math.nan, 0, 0])}, Verdict.NOT_FINITE),
        ({"gradient": torch.tensor([0, 0, 0, 0, -math.inf])}, Verdict.NOT_FINITE),
        ({"before": torch.tensor([math.nan, 0])}, Verdict.NOT_FINITE),
        ({"after": torch.tensor([0, math.inf])}, Verdict.NOT_FINITE),
    ],
)
def test_what_is_wrong_is_refused_counted_and_changes_nothing(change, verdict):
    it, beside = (server(polyak_decay=0.9, **WITH_STATISTICS) for _ in range(2))
    first = replace(GOOD, number=0, version=0)
    for each in (it, beside):
        assert each.push(first) is Verdict.APPLIED
    assert it.push(replace(GOOD, **change)) is verdict
    assert it.refused == {verdict: 1}
    found, expected = it.snapshot(), beside.snapshot()
    for state in (found, expected):
        state.pop("refused")
    assert_equal(found, expected)
    # Nor later: the next update is what it would have been (momentum, schedule, average).
    assert it.push(GOOD) is beside.push(GOOD) is Verdict.APPLIED
    assert torch.equal(it.values.parameters, beside.values.parameters)
    assert torch.equal(it.average().statistics, beside.average().statistics)


def assert_equal(one, other):
    """The same nested state, bit by bit."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    elif isinstance(one, Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_a_push_twice_counts_once_even_after_others():
    it = server()
    assert it.push(push_of(0)) is Verdict.APPLIED
    assert it.push(push_of(3, 1)) is Verdict.APPLIED
    weights = it.values.parameters.clone()
    assert it.push(push_of(0, 2)) is Verdict.DUPLICATE
    assert it.push(push_of(3, 0)) is Verdict.DUPLICATE
    assert it.version == 2
    assert torch.equal(it.values.parameters, weights)


@pytest.mark.parametrize("optimizer", [sgd, rmsprop])
def test_a_snapshot_taken_back_goes_on_bit_by_bit(optimizer, tmp_path):
    it = server(optimizer, polyak_decay=0.9, learning_rate=lambda step: 0.1 / (step + 1))
    for number in range(3):
        it.push(push_of(number, number))
    torch.save(it.snapshot(), tmp_path / "snapshot")
    state = torch.load(tmp_path / "snapshot", weights_only=True)  # no Python objects in it
    again = server(optimizer, polyak_decay=0.9, learning_rate=lambda step: 0.1 / (step + 1))
    again.restore(state, generation=2)
    assert again.push(push_of(2, 2, generation=2)) is Verdict.DUPLICATE
    assert again.push(push_of(3, 3)) is Verdict.WRONG_VERSION  # of an earlier life
    for number in range(3, 6):
        assert it.push(push_of(number, number)) is Verdict.APPLIED
        assert again.push(push_of(number, number, generation=2)) is Verdict.APPLIED
    assert torch.equal(it.values.parameters, again.values.parameters)
    assert torch.equal(it.average().parameters, again.average().parameters)
    assert again.staleness == it.staleness


def test_a_snapshot_is_a_copy():
    it = server(polyak_decay=0.9)
    it.push(push_of(0))
    state = it.snapshot()
    it.push(push_of(1, 1))
    before = it.values.parameters.clone()
    it.restore(state)
    assert (it.version, it.staleness) == (1, {0: 1})
    it.push(push_of(1, 1))
    assert torch.equal(it.values.parameters, before)
    it.restore(state)  # the first restore has not handed out the snapshot's own tensors
    it.push(push_of(1, 1))
    assert torch.equal(it.values.parameters, before)


def test_a_pull_is_a_copy_and_knows_its_version():
    it = server()
    pulled = it.pull()
    it.push(push_of(0))
    assert (pulled.version, pulled.values.parameters.tolist()) == (0, pytest.approx(WEIGHTS))
    assert it.pull().version == 1


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_gradient_of_16_bits_is_widened_before_the_update(precision):
    it, exact = server(), server()
    narrow = torch.tensor(GRADIENTS[0]).to(precision)
    assert it.push(push_of(0, gradient=narrow)) is Verdict.APPLIED
    exact.push(push_of(0, gradient=narrow.float()))
    assert torch.equal(it.values.parameters, exact.values.parameters)
    assert it.values.parameters.dtype is torch.float32
