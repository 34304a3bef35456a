"""The written rule: confirmed, contradicted, undecided."""

from xception.paper.decision import LEAST_SEEDS, RULE, decide
from xception.paper.statistics import compare_paired

BETTER = compare_paired([0.92, 0.93, 0.91, 0.94, 0.92, 0.93], [0.85, 0.87, 0.83, 0.88, 0.86, 0.86])
WORSE = compare_paired([0.85, 0.87, 0.83, 0.88, 0.86, 0.86], [0.92, 0.93, 0.91, 0.94, 0.92, 0.93])
NOISE = compare_paired([0.92, 0.90, 0.91, 0.94, 0.92, 0.93], [0.91, 0.93, 0.92, 0.92, 0.93, 0.92])
ALIKE = compare_paired([0.920, 0.931, 0.910], [0.921, 0.930, 0.911])
SAME = compare_paired(
    [0.920, 0.931, 0.910, 0.940, 0.921, 0.933], [0.921, 0.930, 0.911, 0.938, 0.922, 0.932]
)


def outcomes(*claims):
    return [decision.outcome for decision in decide(claims)]


def test_a_clear_difference_decides_both_ways():
    assert outcomes(("better", BETTER), ("better", WORSE)) == ["confirmed", "contradicted"]


def test_noise_is_undecided():
    assert outcomes(("better", NOISE)) == ["undecided"]


def test_five_seeds_never_decide():
    few = compare_paired([0.92, 0.93, 0.91, 0.94, 0.92], [0.5, 0.51, 0.52, 0.5, 0.5])
    (decision,) = decide([("better", few)])
    assert decision.outcome == "undecided"
    assert f"{LEAST_SEEDS} are needed" in decision.reason


def test_a_claim_that_was_not_run_says_so():
    assert outcomes(("better", None)) == ["not run"]


def test_equal_claims_need_the_interval_inside_the_margin():
    assert outcomes(("equal", SAME)) == ["confirmed"]
    assert outcomes(("equal", BETTER)) == ["contradicted"]
    assert outcomes(("equal", ALIKE)) == ["undecided"]  # three seeds
    assert outcomes(("equal", NOISE)) == ["undecided"]


def test_a_longer_list_of_claims_asks_for_more():
    moderate = compare_paired(
        [0.92, 0.93, 0.92, 0.94, 0.92, 0.93], [0.91, 0.91, 0.915, 0.915, 0.917, 0.925]
    )
    assert outcomes(("better", moderate)) == ["confirmed"]
    assert outcomes(("better", moderate), *[("better", None)] * 20)[0] == "undecided"


def test_the_sign_flip_test_can_stop_a_claim():
    # t is sure (p = 0.005); of 2^6 patterns four are as extreme: those that flip the last sign
    found = compare_paired([0.03, 0.031, 0.029, 0.03, 0.03, -0.001], [0.0] * 6)
    assert found.t_p is not None
    assert found.t_p < 0.01
    assert found.sign_flip_p == 4 / 64
    (decision,) = decide([("better", found)])
    assert (decision.outcome, decision.reason[:19]) == ("undecided", "the exact sign-flip")


# All six differences are positive, so that the sign-flip test gives 2 / 64; one is large.
FAIR = compare_paired([0.01, 0.02, 0.03, 0.04, 0.05, 0.12], [0.0] * 6)


def test_the_t_test_is_two_sided():
    slow = compare_paired([0.01, 0.02, 0.03, 0.04, 0.05, 0.16], [0.0] * 6)
    assert slow.t_p is not None
    assert 0.05 < slow.t_p < 0.1  # one-sided it would be below 0.05
    assert slow.sign_flip_p == 2 / 64
    assert outcomes(("better", slow)) == ["undecided"]


def test_a_claim_with_too_few_seeds_spends_the_correction_as_one_that_was_not_run():
    few = compare_paired([0.92, 0.93, 0.91, 0.94, 0.92], [0.5, 0.51, 0.52, 0.5, 0.5])
    assert FAIR.t_p is not None
    assert 0.05 / 2 < FAIR.t_p < 0.05
    assert outcomes(("better", FAIR)) == ["confirmed"]
    assert outcomes(("better", FAIR), ("better", None))[0] == "undecided"
    assert outcomes(("better", FAIR), ("better", few)) == ["undecided", "undecided"]


def test_every_claim_gets_its_own_p():
    assert outcomes(("better", NOISE), ("better", BETTER)) == ["undecided", "confirmed"]


def test_the_rule_states_its_numbers():
    for number in ("6 pairs", "0.05", "0.031", "±1 percentage point"):
        assert number in RULE
