"""Statistics over seeds, against scipy and arithmetic by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats

from xception.errors import InputError
from xception.paper.statistics import (
    compare_paired,
    equivalence_p,
    holm,
    outside_p,
    sign_flip_p,
    spread,
)

A = [0.912, 0.907, 0.921, 0.899, 0.915, 0.910]
B = [0.905, 0.909, 0.911, 0.893, 0.912, 0.904]


def test_spread_by_hand():
    # mean 3, squares 4 + 1 + 0 + 1 + 4 = 10, 10 / 4 = 2.5
    found = spread([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.mean, found.count) == (3.0, 5)
    assert found.deviation == pytest.approx(2.5**0.5, abs=1e-14)


def test_spread_of_one_value_has_no_deviation():
    assert spread([0.5]).deviation is None


def test_spread_of_nothing_is_refused():
    with pytest.raises(InputError, match="no values"):
        spread([])


def test_sign_flip_equals_a_loop_over_all_patterns():
    differences = [a - b for a, b in zip(A, B, strict=True)]
    observed = abs(sum(differences))
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    extreme = sum(
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= observed - 1e-12
        for signs in patterns
    )
    assert sign_flip_p(differences) == extreme / len(patterns)


def test_sign_flip_equals_scipy():
    differences = np.array([0.3, -0.1, 0.7, 0.2, 0.45, -0.05, 0.31])
    expected = stats.permutation_test(
        (differences, np.zeros(7)),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        n_resamples=np.inf,
    ).pvalue
    assert sign_flip_p(differences.tolist()) == pytest.approx(expected, abs=1e-12)


def test_sign_flip_limits():
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1.0
    assert sign_flip_p([1.0]) == 1.0
    with pytest.raises(InputError, match="no differences"):
        sign_flip_p([])


def test_sign_flip_of_many_pairs_draws_patterns():
    # all alike: only the two patterns of one sign are as extreme, of 2^21; none is drawn
    assert sign_flip_p([1.0] * 21) == 1 / 100_001
    # 20 zeros change nothing, but make the list too long to enumerate: that of the rest is exact
    rest = [0.3, -0.1, 0.7, 0.2, 0.45, -0.05, 0.31]
    exact = sign_flip_p(rest)
    error = (exact * (1 - exact) / 100_000) ** 0.5
    assert sign_flip_p([*rest, *[0.0] * 20]) == pytest.approx(exact, abs=4 * error)  # 4 sigma
    assert compare_paired([1.0, 2.0] * 12, [1.0, 1.0] * 12).sign_flip_p < 0.05


def test_paired_comparison_equals_scipy():
    found = compare_paired(A, B)
    expected = stats.ttest_rel(A, B)
    interval = expected.confidence_interval(0.95)
    assert found.difference == pytest.approx(np.mean(A) - np.mean(B), abs=1e-14)
    assert found.t_p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_paired_comparison_needs_pairs():
    with pytest.raises(InputError, match="2 seeds against 1"):
        compare_paired([1.0, 2.0], [1.0])


def test_paired_comparison_of_constant_differences():
    assert compare_paired([1.0, 2.0], [0.0, 1.0]).t_p == 0.0
    assert compare_paired([1.0, 2.0], [1.0, 2.0]).t_p == 1.0


def test_one_pair_has_no_interval():
    found = compare_paired([0.9], [0.8])
    assert (found.low, found.t_p, found.sign_flip_p) == (None, None, 1.0)


def test_equivalence_is_two_one_sided_tests():
    found = compare_paired(A, B)
    differences = np.subtract(A, B)
    for margin in (0.001, 0.01, 0.02):
        above = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(differences, margin, alternative="less").pvalue
        assert equivalence_p(found, margin) == pytest.approx(max(above, below), rel=1e-8)
        beyond = 2 * min(1 - above, 1 - below)
        assert outside_p(found, margin) == pytest.approx(min(1, beyond), rel=1e-8)


def test_holm_by_hand():
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04 -> never decreasing
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
