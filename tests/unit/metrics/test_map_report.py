"""What is said beside the figure, and the table of the classes."""

import csv

import pytest
import torch

from xception.errors import InputError
from xception.metrics import (
    SparseTargets,
    WeightedMeanAveragePrecision,
    describe,
    ranked_classes,
    read_class_table,
    weighted_mean_average_precision,
    write_class_table,
)
from xception.metrics.class_report import class_rows

NAMES = ["ant", "bee", "cow, brown", "doe"]


@pytest.fixture
def result():
    """Class 0: two of two found; class 1: missed; class 2: second of two; class 3: in no image."""
    return weighted_mean_average_precision(
        torch.tensor([[9.0, 0.0, 8.0, 1.0], [7.0, 0.0, 5.0, 1.0], [0.0, 1.0, 2.0, 3.0]]),
        SparseTargets.from_lists([[0, 1], [0, 2], []]),
        k=2,
        class_weights=[1.0, 2.0, 3.0, 4.0],
    )


def test_table_holds_every_class(result, tmp_path):
    path = tmp_path / "classes.csv"
    write_class_table(result, path, NAMES)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == NAMES
    found = [
        (row["weight"], row["positives"], row["predictions"], row["hits"], row["average_precision"])
        for row in rows
    ]
    assert found == [
        ("1.0", "2", "2", "2", "1.0"),
        ("2.0", "1", "0", "0", "0.0"),
        ("3.0", "1", "3", "1", "0.5"),
        ("4.0", "0", "1", "0", ""),
    ]
    assert list(tmp_path.iterdir()) == [path]
    assert read_class_table(path) == class_rows(result, NAMES)


def test_table_overwrites_only_when_told(result, tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write_class_table(result, path, NAMES)
    assert path.read_text() == "mine"
    write_class_table(result, path, NAMES, overwrite=True)
    assert path.read_text().startswith("class_id,name,weight")
    with pytest.raises(InputError, match="there is no folder"):
        write_class_table(result, tmp_path / "none" / "classes.csv", NAMES)


def test_best_and_worst_leave_out_classes_without_images(result):
    best, worst = ranked_classes(result, NAMES, count=2)
    assert [row.name for row in best] == ["ant", "cow, brown"]
    assert [row.name for row in worst] == ["bee"]


def test_equal_classes_are_listed_by_images_then_number():
    scores = torch.tensor([[0.0, 0.0, 0.0, 1.0]] * 3)
    result = weighted_mean_average_precision(
        scores, SparseTargets.from_lists([[0, 1], [1, 2], [0]]), k=1
    )
    _, worst = ranked_classes(result, count=0)
    assert worst == []
    best, worst = ranked_classes(result, count=1)
    assert best[0].class_id == 0  # all are 0: class 0 and 1 have two images each
    assert worst[0].class_id == 1


def test_text_names_reading_denominator_unlabeled_and_weights(result):
    text = describe(result)
    assert f"{result.value:.4f} (per image, class weights as given)" in text
    assert "the min(labels, 2) largest weights among the image's labels" in text
    assert "3, of them 1 without a label (left out of the mean)" in text
    assert "every class counts as annotated" in text


@pytest.mark.parametrize(
    ("unannotated", "words"), [("masked", "taken out before the top 1"), ("negative", "as wrong")]
)
def test_text_names_the_treatment_of_unannotated_classes(unannotated, words):
    metric = WeightedMeanAveragePrecision(k=1, unannotated=unannotated, reading="class")
    metric.update(
        torch.tensor([[0.0, 1.0, 2.0]]),
        SparseTargets.from_lists([[1]]),
        annotated=torch.tensor([True, True, False]),
        keys=torch.tensor([4]),
    )
    text = describe(metric.result())
    assert words in text
    assert "(per class, equal class weights)" in text
    assert "all images of the class, in their top 1 or not" in text
    assert "3, of them 2 in no image" in text


def test_text_says_undefined_rather_than_a_number():
    result = weighted_mean_average_precision(torch.ones(1, 2), SparseTargets.from_lists([[]]), k=1)
    assert "undefined" in describe(result)
