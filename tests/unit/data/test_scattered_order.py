"""The order of sets too large for an array of places."""

import sys

import numpy as np
import pytest

from xception.data import order
from xception.data.order import SCATTERED_FROM, ScatteredOrder, epoch_order


@pytest.mark.parametrize("count", [1, 2, 3, 15, 16, 17, 1000, 4097])
def test_scattered_order_is_a_permutation(count):
    for seed in range(3):
        places = ScatteredOrder(count, seed)
        assert sorted(places[i] for i in range(count)) == list(range(count))
        assert len(places) == count
    with pytest.raises(IndexError):
        places[count]


def test_scattered_order_is_pure_and_differs_between_seeds():
    one = [ScatteredOrder(1000, 1)[i] for i in range(1000)]
    assert one == [ScatteredOrder(1000, 1)[i] for i in range(1000)]
    two = [ScatteredOrder(1000, 2)[i] for i in range(1000)]
    # two unrelated permutations agree in one place on average; twelve is one in 10^9
    assert sum(a == b for a, b in zip(one, two, strict=True)) < 12


def test_scattered_order_puts_any_sample_anywhere():
    count = SCATTERED_FROM + 5
    for place in (0, 1, count // 2, count - 1):
        found = [ScatteredOrder(count, seed)[place] for seed in range(3200)]
        cells = np.bincount(np.array(found) * 16 // count, minlength=16)
        # chi-squared of 16 cells of 200 each, 15 degrees of freedom: 45 is one in 10,000
        assert ((cells - 200) ** 2 / 200).sum() < 45


def test_neighbours_are_scattered():
    places = ScatteredOrder(350_000_000, 0)
    found = np.array([places[i] for i in range(4000)])
    assert abs(np.corrcoef(np.arange(4000), found)[0, 1]) < 0.06  # 4 standard deviations
    steps = np.abs(np.diff(found))
    # two independent uniform numbers lie a third of the range apart, within 4 standard errors
    assert steps.mean() / 350_000_000 == pytest.approx(1 / 3, abs=4 * 0.236 / 4000**0.5)


def test_large_sets_differ_between_epochs_and_seeds():
    """Seed 1's first epoch is not seed 0's second one: two runs to be averaged would agree."""
    orders = [epoch_order(SCATTERED_FROM, seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len({tuple(order[place] for place in range(8)) for order in orders}) == 9


def test_large_sets_take_no_memory():
    places = epoch_order(350_000_000, 0, 1)
    assert isinstance(places, ScatteredOrder)
    assert sys.getsizeof(places) + sum(map(sys.getsizeof, vars(places).values())) < 2000
    assert epoch_order(350_000_000, 0, 2)[0] != places[0]
    assert isinstance(epoch_order(1000, 0, 1), np.ndarray)
    assert SCATTERED_FROM == order.SCATTERED_FROM == 2**20


def test_scattered_order_stays_the_same_between_versions():
    places = ScatteredOrder(350_000_000, 7)
    assert [places[i] for i in range(4)] == EXPECTED


EXPECTED = [334739146, 70039136, 190598900, 117001564]
