"""Validation images out of the training images, the test images untouched."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xception.data.catalog import open_source
from xception.data.held_out import held_out_by_name, held_out_by_position
from xception.data.module import ImageData
from xception.data.multi_label import MultiLabelArrays
from xception.data.sources import ArraySource, FileSource
from xception.data.targets import SparseLabels
from xception.data.tuning_split import tuning_split
from xception.errors import InputError


def source_of(labels, multi_label=False):
    images = torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8)
    names = [str(c) for c in range(5)]
    if multi_label:
        return MultiLabelArrays(images, SparseLabels.from_lists([[c] for c in labels], 5), names)
    return ArraySource(images, labels, names)


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=60),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**31),
    multi_label=st.booleans(),
)
def test_split_is_disjoint_complete_and_the_same_again(labels, fraction, seed, multi_label):
    source = source_of(labels, multi_label)
    try:
        train, held_out = (
            tuning_split(source, split, fraction, seed) for split in ("train", "evaluation")
        )
    except InputError as error:  # every class has a single image
        assert len(set(labels)) == len(labels)
        if "no image can be held out" not in str(error):
            raise
        return
    assert sorted([*train.indices, *held_out.indices]) == list(range(len(labels)))
    assert len(train) >= 1
    assert len(held_out) >= 1
    again = tuning_split(source, "evaluation", fraction, seed)
    assert np.array_equal(again.indices, held_out.indices)
    if multi_label:
        assert abs(len(held_out) - fraction * len(labels)) <= 1
        return
    for label in set(labels):
        size = labels.count(label)
        share = int((held_out.labels == label).sum())
        assert share == min(max(round(fraction * size), 1), size - 1)


def test_split_depends_on_the_seed_and_not_on_that_of_validation_fraction():
    from xception.data.held_out import held_out_by_position

    labels = np.zeros(100, np.int64)
    source = source_of(labels.tolist())
    chosen = [tuple(tuning_split(source, "evaluation", 0.2, s).indices) for s in range(3)]
    assert len(set(chosen)) == 3
    assert chosen[0] != tuple(held_out_by_position(labels, 0.2, 0))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5])
def test_a_share_out_of_range_is_refused(fraction):
    with pytest.raises(InputError, match=r"data\.tuning_fraction is .*between 0 and 1"):
        tuning_split(source_of([0, 0]), "train", fraction, 0)


def test_several_labels_stay_with_their_images():
    found = tuning_split(source_of([3, 1, 4, 1], multi_label=True), "evaluation", 0.5, 0)
    assert found.multi_label
    assert [int(found[i][1].class_ids[0]) for i in range(2)] == [
        [3, 1, 4, 1][index] for index in found.indices
    ]


@pytest.fixture
def folder(tmp_path, save_image):
    for seed in range(20):
        save_image(tmp_path / "train" / "ab"[seed % 2] / f"{seed}.png", seed=seed)
    for name in "ab":  # what is called an image and is none: reading it would be told
        (tmp_path / "val" / name).mkdir(parents=True)
        (tmp_path / "val" / name / "0.png").write_bytes(b"unreadable")
    return tmp_path


def paths(source):
    return {source.describe(index) for index in range(len(source))}


def test_the_held_out_folder_is_never_opened(folder, monkeypatch):
    data = ImageData(name="folder", root=str(folder), tuning_fraction=0.3, batch_size=4)
    opened = []
    from xception.data import folders

    scan = folders.scan_classes
    monkeypatch.setattr(
        folders, "scan_classes", lambda where, *rest: (opened.append(where), scan(where, *rest))[1]
    )
    data.setup()
    assert (len(data.train_source), len(data.evaluation_source)) == (14, 6)
    assert not paths(data.train_source) & paths(data.evaluation_source)
    for index in range(6):
        assert data.evaluation_source[index][0].dtype == torch.uint8
    assert {path.name for path in opened} == {"train"}


@pytest.mark.parametrize("name", ["imagenet", "cifar10"])
def test_a_set_without_its_held_out_images_can_be_tuned_on(tmp_path, save_image, name):
    for seed in range(10):
        save_image(tmp_path / "train" / f"n0000000{seed % 2}" / f"{seed}.png", seed=seed)
    train, held_out = (
        open_source(name, split, root=str(tmp_path), tuning_fraction=0.4)
        for split in ("train", "evaluation")
    )
    assert (len(train), len(held_out)) == (6, 4)


def test_what_validation_fraction_holds_out_is_not_tuned_on(tmp_path, save_image):
    for seed in range(20):
        save_image(tmp_path / "ab"[seed % 2] / f"{seed}.png", seed=seed)
    keys = {"root": str(tmp_path), "validation_fraction": 0.2, "seed": 3}
    test = open_source("folder", "evaluation", **keys)
    tuned = [
        open_source("folder", split, tuning_fraction=0.25, **keys)
        for split in ("train", "evaluation")
    ]
    assert (len(test), *map(len, tuned)) == (4, 12, 4)
    assert len(set.union(paths(test), *map(paths, tuned))) == 20


def test_a_run_evaluates_on_the_share_and_evaluate_takes_the_same(tmp_path, capsys):
    from xception.cli.main import main

    run = tmp_path / "run"
    words = ["--data.tuning_fraction", "0.1", "--trainer.max_steps", "1", "--model.width", "0.125"]
    assert main(["train", "digits-xception", "--output", str(run), *words]) == 0
    summary = json.loads((run / "summary.json").read_text())
    held_out = summary["evaluation"]["images"]
    assert held_out + summary["training"]["train_images"] == 1437
    assert abs(held_out - 143.7) <= 5  # a tenth of each of ten classes, rounded
    capsys.readouterr()
    assert main(["evaluate", str(run), str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == held_out


@pytest.mark.parametrize("by_name", [True, False])
def test_the_draw_is_apart_from_that_of_the_validation_share(by_name):
    """By a seed of its own: it never changes, so that a search can be repeated."""
    names = [f"cat/{i}.png" for i in range(40)]
    files = FileSource("nowhere", names, [0] * 40, ["cat"])
    found = tuning_split(files, "evaluation", 0.25, 3, by_name=by_name).indices
    labels = np.zeros(40, int)
    seed = 3 + 1_000_003
    by_hand = (
        held_out_by_name(names, labels, 0.25, seed)
        if by_name
        else held_out_by_position(labels, 0.25, seed)
    )
    assert found.tolist() == by_hand.tolist()
