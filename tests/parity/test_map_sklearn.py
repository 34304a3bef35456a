"""MAP@k against scikit-learn, where both mean the same.

They coincide when no two compared scores are equal (scikit-learn treats ties as one threshold)
and the ranking is not cut: k = number of classes, or, per image, every label inside the top k.
"""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from xception.metrics import weighted_mean_average_precision

TOLERANCE = 1e-12  # float64 on both sides
IMAGES, CLASSES = 60, 40


@pytest.fixture(params=range(5))
def evaluation(request):
    """Distinct scores, 1 to 6 labels per image, some classes rare."""
    rng = np.random.default_rng(request.param)
    scores = rng.permutation(IMAGES * CLASSES).reshape(IMAGES, CLASSES).astype(np.float32)
    targets = np.zeros((IMAGES, CLASSES), dtype=np.int64)
    for row in targets:
        row[rng.choice(CLASSES - 2, size=rng.integers(1, 7), replace=False)] = 1
    # A model that knows something. Whole numbers and whole numbers + 1/2: no two are equal.
    scores += targets.astype(np.float32) * 600.5
    assert len(np.unique(scores)) == scores.size
    return scores, targets


def _ours(scores, targets, **arguments):
    return weighted_mean_average_precision(
        torch.from_numpy(scores), torch.from_numpy(targets), **arguments
    )


def test_per_image_full_ranking_is_label_ranking_average_precision(evaluation):
    expected = label_ranking_average_precision_score(evaluation[1], evaluation[0])
    assert _ours(*evaluation, k=CLASSES).value == pytest.approx(expected, abs=TOLERANCE)


def test_per_image_full_ranking_is_average_precision_over_samples(evaluation):
    expected = average_precision_score(evaluation[1], evaluation[0], average="samples")
    assert _ours(*evaluation, k=CLASSES).value == pytest.approx(expected, abs=TOLERANCE)


def test_per_image_cut_ranking_coincides_where_all_labels_are_inside(evaluation):
    scores, targets = evaluation
    k = 20
    inside = np.sort(np.where(targets == 1, (-scores).argsort(1).argsort(1), -1), axis=1)[:, -1] < k
    assert 0 < inside.sum() < IMAGES  # the claim is about some of them, not about all
    scores, targets = scores[inside], targets[inside]
    expected = label_ranking_average_precision_score(targets, scores)
    assert _ours(scores, targets, k=k).value == pytest.approx(expected, abs=TOLERANCE)


def test_per_class_full_ranking_is_average_precision_of_each_class(evaluation):
    scores, targets = evaluation
    ours = _ours(scores, targets, k=CLASSES).class_average_precision.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes without positives: 0 there, NaN here
        expected = average_precision_score(targets, scores, average=None)
    present = targets.any(0)
    assert 0 < present.sum() < CLASSES
    np.testing.assert_allclose(ours[present], expected[present], atol=TOLERANCE, rtol=0)
    assert np.isnan(ours[~present]).all()


def test_per_class_weighted_by_support_is_sklearns_weighted_average(evaluation):
    scores, targets = evaluation
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = average_precision_score(targets, scores, average="weighted")
    support = torch.from_numpy(targets.sum(0))
    ours = _ours(scores, targets, k=CLASSES, class_weights=support, reading="class")
    assert ours.value == pytest.approx(expected, abs=TOLERANCE)
