"""When a claim of the paper counts as confirmed, contradicted or undecided, and why.

The rule stands here before any run. It is printed in every report.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xception.paper.statistics import PairedComparison, equivalence_p, holm, outside_p

LEAST_SEEDS = 6
LEVEL = 0.05
MARGIN = 0.01
"""Top-1 difference that counts as none: one percentage point."""

RULE = f"""\
A claim is decided on the top-1 accuracy of the averaged weights at the end of training, on the \
held-out images, which nothing is selected on. Both networks are trained from the same seeds and \
compared in pairs.
1. With fewer than {LEAST_SEEDS} pairs of seeds a claim is undecided.
2. "A is better than B" is confirmed if the mean difference is positive, contradicted if it is \
negative, provided that the paired t test's two-sided p, after Holm's correction, and the exact \
sign-flip test's two-sided p are both at most {LEVEL}. Holm's correction is applied to the t test: \
with six pairs the sign-flip test can't go below 0.031, which no correction over two claims or \
more would survive. It guards the t test against what is not normal.
3. "A is as good as B" is confirmed if two one-sided t tests place the difference within \
±{MARGIN * 100:g} percentage point, contradicted if they place it outside, with p at most {LEVEL} \
after Holm's correction.
4. Holm's correction counts every claim of the list; one that was not run counts with p = 1.
Otherwise the claim is undecided at this scale."""

RULE_MULTI_LABEL = """\
Claims on the multi-label task are decided by the same rule on the MAP@k of the averaged weights. \
That a relative gain is larger on one task than on the other is decided on the difference of the \
two gains, (A − B) / B of MAP@k and of top-1, over the seeds that all four networks have."""
"""Added where a scale has a multi-label task."""

Outcome = Literal["confirmed", "contradicted", "undecided", "not run"]


@dataclass(frozen=True)
class Decision:
    """What became of one claim.

    Attributes:
        outcome: The word.
        reason: Why, in half a sentence.
    """

    outcome: Outcome
    reason: str


def decide(
    comparisons: Sequence[tuple[Literal["better", "equal"], PairedComparison | None]],
) -> list[Decision]:
    """Applies the rule to the whole list of claims.

    Args:
        comparisons: For each claim its kind, "better" (A than B) or "equal", and A against B; None
            where nothing was run.

    Returns:
        A decision for each, in the same order.
    """
    adjusted = holm([_p_value(kind, comparison) for kind, comparison in comparisons])
    return [
        _decision(kind, comparison, p)
        for (kind, comparison), p in zip(comparisons, adjusted, strict=True)
    ]


def _p_value(kind: str, comparison: PairedComparison | None) -> float:
    if comparison is None or comparison.count < LEAST_SEEDS:
        return 1.0
    if kind == "equal":
        return min(1.0, equivalence_p(comparison, MARGIN), outside_p(comparison, MARGIN))
    assert comparison.t_p is not None
    return comparison.t_p


def _decision(kind: str, comparison: PairedComparison | None, p: float) -> Decision:
    if comparison is None:
        return Decision("not run", "no seed was run for both networks")
    if comparison.count < LEAST_SEEDS:
        pairs = "1 pair" if comparison.count == 1 else f"{comparison.count} pairs"
        return Decision("undecided", f"{pairs} of seeds, {LEAST_SEEDS} are needed")
    if p > LEVEL:
        return Decision("undecided", f"p = {p:.2g} after Holm's correction")
    if kind == "equal":
        inside = equivalence_p(comparison, MARGIN) <= outside_p(comparison, MARGIN)
        where = "within" if inside else "outside"
        reason = f"{where} ±{MARGIN * 100:g} point, p = {p:.2g} after Holm's correction"
        return Decision("confirmed" if inside else "contradicted", reason)
    if comparison.sign_flip_p > LEVEL:
        reason = f"the exact sign-flip test gives p = {comparison.sign_flip_p:.2g}"
        return Decision("undecided", reason)
    outcome: Outcome = "confirmed" if comparison.difference > 0 else "contradicted"
    return Decision(outcome, f"p = {p:.2g} after Holm's correction")
