"""Both readings against scalar loops on random evaluations."""

import math

import pytest
import torch
from hypothesis import given, settings
from random_evaluations import cases
from scalar_map import class_aps, image_ap, map_per_class, map_per_image

from xception.metrics import (
    SparseTargets,
    WeightedMeanAveragePrecision,
    average_precision_per_image,
    rank_images,
    weighted_mean_average_precision,
)

TOLERANCE = 1e-12  # float64 sums of at most 42 terms in [0, 1]


def _same(ours, expected):
    if expected is None:
        return math.isnan(ours)
    return ours == pytest.approx(expected, abs=TOLERANCE)


def _arguments(case):
    annotated = None if case.annotated is None else torch.tensor(case.annotated)
    return {
        "scores": torch.tensor(case.scores),
        "targets": SparseTargets.from_lists(case.labels),
        "annotated": annotated,
    }


@settings(max_examples=250, deadline=None)
@given(cases())
def test_both_readings_equal_the_loops(case):
    result = weighted_mean_average_precision(
        **_arguments(case),
        k=case.k,
        class_weights=case.weights,
        keys=torch.arange(len(case.labels)),
    )
    truth = (case.scores, case.labels)
    assert _same(result.per_image_map, map_per_image(*truth, case.weights, case.k, case.annotated))
    aps = class_aps(*truth, case.num_classes, case.k, case.annotated)
    assert all(map(_same, result.class_average_precision.tolist(), aps))
    assert _same(result.per_class_map, map_per_class(aps, case.weights))
    assert result.num_unlabeled == sum(not labels for labels in case.labels)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_unannotated_as_negatives_equals_the_loops_without_mask(case):
    result = weighted_mean_average_precision(
        **_arguments(case), k=case.k, class_weights=case.weights, unannotated="negative"
    )
    expected = map_per_image(case.scores, case.labels, case.weights, case.k)
    assert _same(result.per_image_map, expected)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_batches_of_one_in_any_order_give_the_figure_of_all_at_once(case):
    together = _arguments(case)
    metric = WeightedMeanAveragePrecision(k=case.k, class_weights=case.weights)
    for i in reversed(range(len(case.labels))):
        metric.update(
            together["scores"][i : i + 1],
            SparseTargets.from_lists([case.labels[i]]),
            annotated=None if case.annotated is None else together["annotated"][i : i + 1],
            keys=torch.tensor([i]),
        )
    keys = torch.arange(len(case.labels))
    at_once = weighted_mean_average_precision(
        **together, k=case.k, class_weights=case.weights, keys=keys
    )
    result = metric.result()  # sorted by key before summing: equal to the last bit
    for name in ("per_image_map", "per_class_map"):
        one, other = getattr(result, name), getattr(at_once, name)
        assert one == other or (math.isnan(one) and math.isnan(other))


@settings(max_examples=60, deadline=None)
@given(cases(masks=False))
def test_dense_targets_and_sparse_targets_give_the_same(case):
    dense = torch.zeros(len(case.labels), case.num_classes)
    for i, labels in enumerate(case.labels):
        dense[i, labels] = 1
    given_sparse = rank_images(torch.tensor(case.scores), _arguments(case)["targets"], case.k)
    given_dense = rank_images(torch.tensor(case.scores), dense, case.k)
    assert all(map(torch.equal, given_sparse, given_dense))


@settings(max_examples=60, deadline=None)
@given(cases(masks=False))
def test_per_image_function_returns_each_image_ap(case):
    ranked = rank_images(torch.tensor(case.scores), _arguments(case)["targets"], case.k)
    weights = torch.tensor(case.weights, dtype=torch.float64)
    ours = average_precision_per_image(ranked, weights).tolist()
    expected = [
        image_ap(scores, labels, case.weights, case.k)
        for scores, labels in zip(case.scores, case.labels, strict=True)
    ]
    assert all(map(_same, ours, expected))


def test_weighted_ap_of_a_ranking_worked_by_hand():
    # Ranks: 3 (hit), 0, 1 (hit); label 2 (weight 8) is fourth and outside k = 3.
    # (5 · 1/1 + 2 · 2/3) / (8 + 5 + 2)
    result = weighted_mean_average_precision(
        torch.tensor([[3.0, 2.0, 1.0, 4.0]]),
        SparseTargets.from_lists([[1, 2, 3]]),
        k=3,
        class_weights=[1.0, 2.0, 8.0, 5.0],
    )
    assert result.value == pytest.approx((5 + 4 / 3) / 15, abs=TOLERANCE)


def test_denominator_takes_the_k_largest_weights_of_more_labels_than_k():
    # k = 1, labels of weight 1 and 4: the best that a ranking reaches is 4; this one reaches 1.
    result = weighted_mean_average_precision(
        torch.tensor([[2.0, 1.0]]), torch.ones(1, 2), k=1, class_weights=[1.0, 4.0]
    )
    assert result.value == 0.25


def test_class_reading_counts_positives_outside_every_top_k():
    # Class 0 is first in images 0 and 1 (scores 5 and 3); image 0 has it, and so has image 2,
    # where it is not in the top 1: AP = (1/1) / 2. Class 1 is first in image 2 only: AP = 0 / 1.
    result = weighted_mean_average_precision(
        torch.tensor([[5.0, 0.0], [3.0, 0.0], [1.0, 2.0]]),
        SparseTargets.from_lists([[0], [1], [0]]),
        k=1,
        class_weights=[3.0, 1.0],
        reading="class",
    )
    assert result.class_average_precision.tolist() == [0.5, 0.0]
    assert result.value == pytest.approx(3 * 0.5 / 4, abs=TOLERANCE)
    assert result.class_predictions.tolist() == [2, 1]
    assert result.class_hits.tolist() == [1, 0]


def test_perfect_ranking_scores_one_in_both_readings(make_batch):
    _, targets = make_batch(40, 30)
    scores = torch.zeros(40, 30)
    scores[targets.rows, targets.class_ids] = 1.0
    result = weighted_mean_average_precision(
        scores, targets, k=5, class_weights=torch.arange(1.0, 31.0)
    )
    assert result.per_image_map == pytest.approx(1.0, abs=TOLERANCE)
    assert result.per_class_map == pytest.approx(1.0, abs=TOLERANCE)


def test_zero_weight_labels_are_left_out_and_counted():
    result = weighted_mean_average_precision(
        torch.tensor([[1.0, 2.0], [2.0, 1.0], [0.0, 1.0]]),
        SparseTargets.from_lists([[0], [1], []]),
        k=2,
        class_weights=[0.0, 1.0],
    )
    assert (result.num_unlabeled, result.num_weightless) == (1, 1)
    assert result.value == 0.5  # image 1 alone: its label is second
