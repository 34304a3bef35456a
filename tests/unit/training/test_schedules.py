"""Schedules against hand arithmetic."""

import math
from dataclasses import replace

import pytest

from xception.training.schedules import Position, constant, cosine, exponential

EPOCH = Position(samples=0, samples_per_epoch=1000, batch_size=100, total_samples=10_000)


def at(samples: int) -> Position:
    return replace(EPOCH, samples=samples)


def test_exponential_is_the_papers_staircase_every_two_epochs():
    schedule = exponential(factor=0.94, every=2, unit="epochs")
    assert schedule(at(0)) == 1
    assert schedule(at(1999)) == 1
    assert schedule(at(2000)) == pytest.approx(0.94, rel=1e-15)
    assert schedule(at(9999)) == pytest.approx(0.94**4, rel=1e-15)


def test_exponential_counts_samples_whatever_the_batch():
    schedule = exponential(factor=0.9, every=3_000_000, unit="samples")
    assert schedule(at(2_999_999)) == 1
    for batch_size in (32, 4096):
        position = replace(at(6_000_000), batch_size=batch_size)
        assert schedule(position) == pytest.approx(0.81, rel=1e-15)


def test_exponential_counts_steps():
    schedule = exponential(factor=0.5, every=3, unit="steps")
    assert [schedule(at(100 * step)) for step in range(7)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_exponential_without_staircase_is_continuous():
    schedule = exponential(factor=0.25, every=1, unit="epochs", staircase=False)
    assert schedule(at(500)) == pytest.approx(0.5, rel=1e-15)


def test_exponential_at_a_rung_is_never_late():
    # 7 epochs of 1437 // 32 * 32 = 1408 images: rounding must not leave the rung at 6.999…
    schedule = exponential(factor=0.5, every=0.7, unit="epochs")
    for rung in range(1, 50):
        samples = round(0.7 * rung * 1000)
        assert schedule(at(samples)) == 0.5**rung


def test_cosine_starts_above_zero_and_ends_at_the_final_factor():
    schedule = cosine(warmup_epochs=2, final_factor=0.1)
    assert schedule(at(0)) == pytest.approx(50 / 2000)
    assert schedule(at(1900)) == pytest.approx(1950 / 2000)
    middle = 2000 + 4000 - 50  # whose batch has its middle half way down
    assert schedule(at(middle)) == pytest.approx((1 + 0.1) / 2)
    progress = (9950 - 2000) / 8000
    expected = 0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2
    assert schedule(at(9900)) == pytest.approx(expected)
    assert schedule(at(20_000)) == pytest.approx(0.1)


def test_constant_stays():
    assert {constant()(at(samples)) for samples in (0, 5000, 10**9)} == {1.0}


@pytest.mark.parametrize(
    ("build", "keys"),
    [
        (exponential, {"factor": 0}),
        (exponential, {"factor": 1.5}),
        (exponential, {"every": 0}),
        (cosine, {"warmup_epochs": -1}),
        (cosine, {"final_factor": 2}),
    ],
)
def test_schedules_refuse_values_out_of_range(build, keys):
    (name,) = keys
    with pytest.raises(ValueError, match=f"schedule.{name}"):
        build(**keys)
