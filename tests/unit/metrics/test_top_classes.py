"""The k best classes: ties, masks, types."""

import pytest
import torch

from xception.metrics import SparseTargets, rank_images, top_classes


def _by_full_sort(scores, k):
    """The definition: the k first of (-score, class id)."""
    return torch.tensor(
        [sorted(range(len(row)), key=lambda c: (-row[c], c))[:k] for row in scores.tolist()]
    )


@pytest.mark.parametrize("levels", [1, 2, 30, 100_000])
@pytest.mark.parametrize("k", [1, 7, 100, 500])
def test_ties_go_to_the_lower_class_id(levels, k):
    generator = torch.Generator().manual_seed(levels + k)
    scores = torch.randint(levels, (20, 500), generator=generator).float()
    class_ids, values = top_classes(scores, k)
    expected = _by_full_sort(scores, k)
    assert torch.equal(class_ids, expected)
    assert torch.equal(values, scores.gather(1, expected))


def test_negative_zero_ties_with_zero():
    class_ids, _ = top_classes(torch.tensor([[0.0, -0.0, 0.0, -0.0, -1.0]]), 4)
    assert class_ids.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_ranked_as_float32(dtype):
    scores = torch.randn(8, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
    class_ids, values = top_classes(scores, 50)  # bfloat16: many equal scores
    assert torch.equal(class_ids, _by_full_sort(scores.float(), 50))
    assert values.dtype == torch.float32


def test_mask_is_applied_before_the_top_k():
    annotated = torch.tensor([[False, True, False, True]])
    class_ids, values = top_classes(torch.tensor([[9.0, 1.0, 8.0, 2.0]]), 3, annotated)
    assert class_ids.tolist() == [[3, 1, -1]]
    assert values.tolist() == [[2.0, 1.0, -torch.inf]]


def test_annotated_class_of_score_minus_infinity_is_still_ranked():
    scores = torch.tensor([[5.0, -torch.inf, 1.0]])
    class_ids, _ = top_classes(scores, 2, torch.tensor([[False, True, True]]))
    assert class_ids.tolist() == [[2, 1]]


def test_scores_are_left_as_they_were():
    scores = torch.tensor([[-0.0, 3.0, 1.0]])
    before = scores.clone()
    top_classes(scores, 2, torch.tensor([[True, False, True]]))
    assert torch.equal(scores, before)
    assert torch.signbit(scores[0, 0])


def test_mask_forms_agree(make_batch):
    scores, _ = make_batch(4, 6)
    targets = SparseTargets.from_lists([[1], [], [3], [1, 3]])
    flat = torch.tensor([False, True, False, True, True, False])
    rows = flat.expand(4, -1)
    sparse = SparseTargets.from_lists([[1, 3, 4]] * 4)
    ranked = [rank_images(scores, targets, 4, annotated=mask) for mask in (flat, rows, sparse)]
    for other in ranked[1:]:
        assert all(map(torch.equal, ranked[0], other))
    assert (ranked[0].class_ids[:, 3] == -1).all()


def test_hits_are_found_for_every_label(make_batch):
    scores, targets = make_batch(30, 12, labels_per_image=9)
    ranked = rank_images(scores, targets, 12)
    for row in range(30):
        labels = set(targets.class_ids[targets.offsets[row] : targets.offsets[row + 1]].tolist())
        found = set(ranked.class_ids[row][ranked.relevant[row]].tolist())
        assert found == labels


@pytest.mark.gpu
@pytest.mark.parametrize("levels", [2, 30, 100_000])
def test_gpu_ranks_as_the_cpu_does(levels):
    scores = torch.randint(levels, (64, 5000), generator=torch.Generator().manual_seed(0)).float()
    scores[:, ::7] *= -1.0  # brings -0.0 in
    here, there = top_classes(scores, 100), top_classes(scores.cuda(), 100)
    assert torch.equal(here[0], there[0].cpu())
    assert torch.equal(here[1], there[1].cpu())


@pytest.mark.parametrize("rows_per_block", [1, 3, 50])
def test_blocks_do_not_change_the_ranking(make_batch, monkeypatch, rows_per_block):
    scores, _ = make_batch(20, 40)
    for mask in (None, torch.arange(40)[None] % 3 > 0, scores > -1.0):
        whole = top_classes(scores, 9, mask)
        monkeypatch.setattr("xception.metrics.ranking._CPU_BLOCK_SCORES", rows_per_block * 40 + 7)
        assert all(map(torch.equal, top_classes(scores, 9, mask), whole))
        monkeypatch.undo()


def test_an_empty_batch_is_ranked_to_nothing():
    class_ids, values = top_classes(torch.empty(0, 5), 2)
    assert class_ids.shape == values.shape == (0, 2)


def test_number_of_threads_is_given_back_even_after_an_error():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        top_classes(torch.rand(4, 9), 2)
        assert torch.get_num_threads() == 3
        with pytest.raises(ValueError, match="NaN"):
            rank_images(torch.full((1, 3), torch.nan), SparseTargets.from_lists([[0]]), 1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
