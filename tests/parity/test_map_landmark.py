"""Equal weights, per image: MAP@100 of the Google Landmarks benchmark.

Weyand et al., "Google Landmarks Dataset v2" (arXiv:2004.01804), section 4.2:
mAP@100 = 1/Q Σ_q AP@100(q), AP@100(q) = 1/min(m_q, 100) Σ_{k=1}^{min(n_q, 100)} P_q(k)·rel_q(k),
over the Q queries that have results, m_q the number of correct ones, n_q of predicted ones.
"""

import pytest
import torch

from xception.metrics import SparseTargets, weighted_mean_average_precision


def _landmark_map(predicted, correct, cut=100):
    queries = [q for q in range(len(correct)) if correct[q]]
    total = 0.0
    for q in queries:
        sum_of_precisions = 0.0
        for k in range(1, min(len(predicted[q]), cut) + 1):
            if predicted[q][k - 1] in correct[q]:
                among_first_k = sum(p in correct[q] for p in predicted[q][:k])
                sum_of_precisions += among_first_k / k
        total += sum_of_precisions / min(len(correct[q]), cut)
    return total / len(queries)


@pytest.mark.parametrize("seed", range(3))
def test_equal_weights_give_the_landmark_figure(seed):
    generator = torch.Generator().manual_seed(seed)
    num_images, num_classes = 12, 400
    scores = torch.randn(num_images, num_classes, generator=generator)
    sizes = [0, 1, 5, 99, 100, 101, 250, 400, 3, 0, 40, 2]  # more labels than 100 too
    labels = [torch.randperm(num_classes, generator=generator)[:size].tolist() for size in sizes]
    predicted = [
        sorted(range(num_classes), key=lambda c, row=row: (-row[c], c))[:100]
        for row in scores.tolist()
    ]
    expected = _landmark_map(predicted, [set(one) for one in labels])
    targets = SparseTargets.from_lists(labels)
    for weights in (None, [0.25] * num_classes):
        result = weighted_mean_average_precision(scores, targets, class_weights=weights)
        assert result.value == pytest.approx(expected, abs=1e-12)  # float64, 100 terms
        assert result.num_unlabeled == 2


def test_three_labels_one_at_rank_one_is_a_third():
    # torchmetrics' RetrievalMAP(top_k=100) says 1.0 here: it divides by the hits.
    scores = torch.arange(300.0, 0.0, -1.0)[None]
    result = weighted_mean_average_precision(scores, SparseTargets.from_lists([[0, 200, 250]]))
    assert result.value == pytest.approx(1 / 3, abs=1e-15)
