"""The metric: its state, keys, collections, counts, and what it refuses."""

import math
import pickle
import subprocess
import sys

import pytest
import torch
from torchmetrics import MetricCollection

from xception.errors import InputError
from xception.metrics import (
    SparseTargets,
    WeightedMeanAveragePrecision,
    weighted_mean_average_precision,
)
from xception.metrics.ranked_images import RankedImages


def _state_bytes(metric):
    parts = (part for field in RankedImages._fields for part in getattr(metric, field))
    return sum(part.numel() * part.element_size() for part in parts)


def _rows(targets, rows):
    lists = [
        targets.class_ids[targets.offsets[row] : targets.offsets[row + 1]].tolist() for row in rows
    ]
    return SparseTargets.from_lists(lists)


def test_state_is_bounded_by_k_and_labels_whatever_the_number_of_classes(make_batch):
    sizes = []
    for num_classes in (200, 4000):
        metric = WeightedMeanAveragePrecision(k=100)
        metric.update(*make_batch(50, num_classes))
        sizes.append(_state_bytes(metric))
    labels = sum(i % 4 for i in range(50))
    # Per image: k ids (4 bytes), scores (4), hits (1), a count and a key (8 each); 4 a label.
    assert sizes == [50 * (100 * 9 + 16) + 4 * labels] * 2


def test_repeated_keys_count_once(make_batch):
    scores, targets = make_batch(10, 20)
    expected = weighted_mean_average_precision(scores, targets, k=5)
    metric = WeightedMeanAveragePrecision(k=5)
    metric.update(scores, targets, keys=torch.arange(10))
    metric.update(scores[:4], _rows(targets, range(4)), keys=torch.arange(4))
    result = metric.result()
    assert result.num_duplicates == 4
    assert result.per_image_map == expected.per_image_map
    assert result.per_class_map == expected.per_class_map
    assert torch.equal(result.class_positives, expected.class_positives)


def test_negative_keys_are_padding(make_batch):
    scores, targets = make_batch(6, 20)
    metric = WeightedMeanAveragePrecision(k=5)
    metric.update(scores, targets, keys=torch.tensor([5, -1, 7, -2, 2, -1]))
    rows = [4, 0, 2]  # by key
    expected = weighted_mean_average_precision(scores[rows], _rows(targets, rows), k=5)
    result = metric.result()
    assert result.num_images == 3
    assert result.per_class_map == expected.per_class_map
    assert result.value == expected.value


def test_without_keys_every_image_counts(make_batch):
    scores, targets = make_batch(5, 9)
    metric = WeightedMeanAveragePrecision(k=3)
    metric.update(scores, targets)
    metric.update(scores, targets)
    assert metric.result().num_images == 10


def test_one_key_for_two_images_is_refused(make_batch):
    scores, targets = make_batch(4, 9)
    metric = WeightedMeanAveragePrecision(k=3)
    metric.update(scores[:2], _rows(targets, [0, 1]), keys=torch.tensor([0, 1]))
    metric.update(scores[2:], _rows(targets, [2, 3]), keys=torch.tensor([0, 1]))
    with pytest.raises(InputError, match="key 0 was given to two images with different labels"):
        metric.compute()


def test_forward_gives_the_batch_and_keeps_all(make_batch):
    scores, targets = make_batch(8, 9)
    metric = WeightedMeanAveragePrecision(k=3)
    first = metric(scores[:4], _rows(targets, range(4)), keys=torch.arange(4))
    metric(scores[4:], _rows(targets, range(4, 8)), keys=torch.arange(4, 8))
    expected_first = weighted_mean_average_precision(scores[:4], _rows(targets, range(4)), k=3)
    assert first.item() == pytest.approx(expected_first.value, abs=1e-7)  # float32
    assert metric.result().value == weighted_mean_average_precision(scores, targets, k=3).value


def test_reset_forgets_and_pickle_remembers(make_batch):
    metric = WeightedMeanAveragePrecision(k=3)
    metric.update(*make_batch(8, 9))
    assert pickle.loads(pickle.dumps(metric)).compute() == metric.compute()
    metric.reset()
    metric.update(*make_batch(5, 7, seed=1))
    expected = weighted_mean_average_precision(*make_batch(5, 7, seed=1), k=3)
    assert metric.result().value == expected.value


def test_merge_state_of_two_metrics_is_one_evaluation(make_batch):
    scores, targets = make_batch(8, 9)
    halves = [WeightedMeanAveragePrecision(k=3) for _ in range(2)]
    for half, rows in zip(halves, (range(4), range(4, 8)), strict=True):
        half.update(scores[rows], _rows(targets, rows), keys=torch.tensor(rows))
    halves[0].merge_state(halves[1])
    assert halves[0].result().value == weighted_mean_average_precision(scores, targets, k=3).value


def test_collection_does_not_mix_masked_and_negative(make_batch):
    # The first batch masks nothing that matters: both metrics have equal lists after it.
    collection = MetricCollection(
        {
            "masked": WeightedMeanAveragePrecision(k=1),
            "negative": WeightedMeanAveragePrecision(k=1, unannotated="negative"),
            "class": WeightedMeanAveragePrecision(k=1, reading="class"),
        }
    )
    target = SparseTargets.from_lists([[1]])
    collection.update(torch.tensor([[0.0, 1.0]]), target)
    only_one = torch.tensor([[False, True]])
    collection.update(torch.tensor([[1.0, 0.0]]), target, annotated=only_one)
    values = collection.compute()
    assert values["masked"] == 1.0
    assert values["negative"] == 0.5
    assert len(collection.compute_groups) == 2  # the two readings do share one


def test_images_without_labels_are_counted_and_left_out_per_image():
    scores = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    result = weighted_mean_average_precision(
        scores, SparseTargets.from_lists([[0], [], []]), k=1, reading="image"
    )
    assert (result.value, result.num_images, result.num_unlabeled) == (1.0, 3, 2)


def test_nothing_to_average_is_nan(make_batch):
    unlabeled = SparseTargets.from_lists([[], []])
    result = weighted_mean_average_precision(torch.rand(2, 4), unlabeled, k=2)
    assert math.isnan(result.per_image_map)
    assert math.isnan(result.per_class_map)


def test_result_can_be_read_before_any_image():
    result = WeightedMeanAveragePrecision(k=2, num_classes=4).result()
    assert result.num_images == 0
    assert math.isnan(result.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 10}, "k=100 is not between 1 and the number of classes, 10"),
        ({"class_weights": [1.0] * 99}, "k=100 is not between 1 and the number of classes, 99"),
        ({"k": 0}, "k=0"),
        ({"k": 2, "class_weights": [1.0, -0.5]}, "weight of class 1 is -0.5"),
        ({"k": 2, "class_weights": [math.nan, 1.0]}, "weight of class 0 is nan"),
        ({"k": 2, "class_weights": [1.0, math.inf]}, "weight of class 1 is inf"),
        ({"k": 2, "class_weights": [0.0, 0.0]}, "all class weights are zero"),
        ({"k": 2, "num_classes": 3, "class_weights": [1.0, 1.0]}, "for 3 classes"),
        ({"reading": "imgae"}, "reading must be .* not 'imgae'; did you mean 'image'"),
        ({"unannotated": "masks"}, "did you mean 'masked'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        WeightedMeanAveragePrecision(**arguments)


def _sparse(offsets, class_ids):
    return torch.tensor(offsets), torch.tensor(class_ids)


GOOD = ([0, 1, 2], [0, 3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": torch.tensor([[1.0, 2, 3, 4], [1, math.nan, 3, 4]])}, "image 1 .* hold NaN"),
        ({"scores": torch.ones(2, 4, dtype=torch.int64)}, "floating point"),
        ({"scores": torch.ones(4)}, "shape"),
        ({"scores": torch.ones(2, 1)}, "k=2 is not between 1 and the number of classes, 1"),
        ({"targets": _sparse([0, 1, 2], [0, 4])}, "image 1 .* class id 4.* 0 to 3"),
        ({"targets": _sparse([0, 1, 2], [-1, 3])}, "class id -1"),
        ({"targets": _sparse([0, 0, 2], [3, 3])}, "image 1 .* class id 3 twice"),
        ({"targets": _sparse([0, 2], [0, 3])}, "2 offsets for 2 images"),
        ({"targets": _sparse([0, 1, 1], [0, 3])}, "offsets must rise"),
        ({"targets": _sparse([0, 3, 2], [0, 3])}, "offsets must rise"),
        ({"targets": _sparse([0, 1, 2], [0.5, 3])}, "class ids must be a flat tensor of integers"),
        ({"targets": torch.ones(2, 3)}, "do not fit scores"),
        ({"targets": torch.full((2, 4), 0.5)}, "zeros and ones"),
        ({"targets": "cat"}, "not str"),
        ({"keys": torch.tensor([1])}, "one integer for each of the 2 images"),
        ({"keys": torch.tensor([1.0, 2.0])}, "one integer for each"),
        ({"annotated": torch.ones(2, 4)}, "annotated must be boolean"),
        ({"annotated": torch.ones(3, 4, dtype=torch.bool)}, "annotated must be boolean"),
        ({"annotated": torch.tensor([True, True, True, False])}, "image 1 .* label 3"),
        ({"annotated": _sparse([0, 1, 2], [0, 9])}, "annotated: image 1 .* class id 9"),
    ],
)
def test_wrong_batches_are_refused(changes, message):
    batch = {"scores": torch.arange(8.0).view(2, 4), "targets": _sparse(*GOOD)} | changes
    metric = WeightedMeanAveragePrecision(k=2)
    with pytest.raises(InputError, match=message):
        metric.update(**batch)
    assert metric.result().num_images == 0  # nothing of the batch was kept


def test_a_change_of_the_number_of_classes_is_refused(make_batch):
    metric = WeightedMeanAveragePrecision(k=2)
    metric.update(*make_batch(2, 5))
    with pytest.raises(InputError, match="6 classes in an evaluation of 5"):
        metric.update(*make_batch(2, 6))


def test_nan_message_names_the_key():
    metric = WeightedMeanAveragePrecision(k=1)
    scores = torch.tensor([[0.0, 1.0], [math.nan, 0.0]])
    with pytest.raises(InputError, match=r"image 1 of the batch \(key 31\)"):
        metric.update(scores, _sparse([0, 1, 2], [0, 1]), keys=torch.tensor([30, 31]))


def test_importing_the_package_does_not_import_the_metric():
    command = "import sys, xception; print([m for m in sys.modules if 'metrics' in m])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
