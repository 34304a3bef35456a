"""What several seeds say: mean and spread, paired comparison, correction for many claims."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xception.errors import InputError

MOST_EXACT = 20
"""Pairs up to which all sign flips are enumerated."""
_DRAWS = 100_000
"""Sign patterns that are drawn with more pairs: p = 0.05 is then known to about 0.001."""


@dataclass(frozen=True)
class Spread:
    """Mean and spread of one figure over seeds.

    Attributes:
        mean: Arithmetic mean.
        deviation: Sample standard deviation (n - 1); None with one value.
        count: Values.
    """

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class PairedComparison:
    """A minus B over the seeds that both have.

    Attributes:
        difference: Mean of the differences.
        deviation: Their sample standard deviation; None with one pair.
        count: Pairs.
        low: Lower end of the 95 % t interval of the mean difference; None with one pair.
        high: Its upper end.
        t_p: Two-sided p of the paired t test; None with one pair.
        sign_flip_p: Two-sided p of the sign-flip permutation test of the mean.
    """

    difference: float
    deviation: float | None
    count: int
    low: float | None
    high: float | None
    t_p: float | None
    sign_flip_p: float


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation.

    Raises:
        InputError: There is no value.

    Example:
        >>> spread([0.8, 0.9, 1.0])
        Spread(mean=0.9, deviation=0.1, count=3)
    """
    if not values:
        raise InputError("no values: nothing to average")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Spread(mean, None, 1)
    squares = math.fsum((value - mean) ** 2 for value in values)
    deviation = math.sqrt(squares / (len(values) - 1))
    return Spread(round(mean, 15), round(deviation, 15), len(values))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the paired permutation test, exact up to ``MOST_EXACT`` pairs.

    If the two networks are alike, each seed's difference could as well have had the other sign:
    p is the share of the 2^n sign patterns whose mean is at least as far from zero as the observed
    one. With n pairs it can't be below 2 / 2^n: 0.031 with six. With more pairs than can be
    enumerated, patterns are drawn at random, always the same ones, and the observed pattern counts
    as one of them, which keeps the test's level (Phipson and Smyth, 2010).

    Args:
        differences: One for each seed.

    Raises:
        InputError: There are none.

    Example:
        >>> sign_flip_p([1, 2, 3, 4, 5, 6])
        0.03125
    """
    if not differences:
        raise InputError("no differences: nothing to test")
    observed = abs(math.fsum(differences))
    tolerance = 1e-12 * math.fsum(abs(d) for d in differences)  # equal up to the order of adding
    if len(differences) > MOST_EXACT:
        generator = np.random.default_rng(0)
        signs = generator.integers(0, 2, (_DRAWS, len(differences)), dtype=np.int8) * 2 - 1
        extreme = np.sum(np.abs(signs @ np.asarray(differences)) >= observed - tolerance)
        return float((extreme + 1) / (_DRAWS + 1))
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    return float(np.mean(np.abs(sums) >= observed - tolerance))


def compare_paired(ours: Sequence[float], theirs: Sequence[float]) -> PairedComparison:
    """Compares two networks over seeds.

    Args:
        ours: A's figure for each seed.
        theirs: B's, for the same seeds in the same order.

    Raises:
        InputError: The numbers of seeds differ, or there are none.
    """
    from scipy import stats

    if len(ours) != len(theirs):
        raise InputError(f"{len(ours)} seeds against {len(theirs)}: pairs need the same seeds")
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    found = spread(differences)
    p = sign_flip_p(differences)
    if found.deviation is None:
        return PairedComparison(found.mean, None, found.count, None, None, None, p)
    n = found.count
    error = found.deviation / math.sqrt(n)
    reach = float(stats.t.ppf(0.975, n - 1)) * error
    if error > 0:
        t_p = float(2 * stats.t.sf(abs(found.mean) / error, n - 1))
    else:  # all differences alike
        t_p = 1.0 if found.mean == 0 else 0.0
    return PairedComparison(
        found.mean, found.deviation, n, found.mean - reach, found.mean + reach, t_p, p
    )


def equivalence_p(comparison: PairedComparison, margin: float) -> float:
    """Two one-sided t tests: a p that is small if the true difference lies within ±margin.

    Args:
        comparison: With at least two pairs.
        margin: The largest difference that counts as none, in the figure's unit.

    Returns:
        The larger of the two p.
    """
    return max(_above(comparison, -margin), 1 - _above(comparison, margin))


def outside_p(comparison: PairedComparison, margin: float) -> float:
    """The opposite: a p that is small if the true difference lies beyond the margin.

    Args:
        comparison: With at least two pairs.
        margin: Beyond it on either side.

    Returns:
        Twice the smaller of the two one-sided p, at most 1.
    """
    return min(1.0, 2 * min(_above(comparison, margin), 1 - _above(comparison, -margin)))


def _above(comparison: PairedComparison, bound: float) -> float:
    """One-sided p of the hypothesis that the mean difference is at most ``bound``."""
    from scipy import stats

    assert comparison.deviation is not None
    error = comparison.deviation / math.sqrt(comparison.count)
    excess = comparison.difference - bound
    if error == 0:
        return 0.0 if excess > 0 else 1.0
    return float(stats.t.sf(excess / error, comparison.count - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p: the chance of any false finding in the whole list stays bounded.

    Args:
        p_values: One for each claim.

    Returns:
        In the same order: the k-th smallest times (m - k + 1), never decreasing, at most 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = largest
    return adjusted
