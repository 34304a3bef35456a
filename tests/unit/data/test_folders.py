import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xception.data.decoding import UnreadableImageError
from xception.data.folders import loose_images, open_folder
from xception.data.held_out import held_out_by_position
from xception.errors import InputError


def names(source) -> list[tuple[str, str]]:
    return [
        (source.describe(i).rpartition("/")[2], source.class_names[source.labels[i]])
        for i in range(len(source))
    ]


@pytest.mark.parametrize("held_out", ["val", "validation", "test"])
def test_open_folder_finds_the_splits(tmp_path, save_image, held_out):
    save_image(tmp_path / "train" / "dog" / "2.png", seed=1)
    save_image(tmp_path / "train" / "dog" / "1.jpg")
    save_image(tmp_path / "train" / "cat" / "3.jpeg")
    save_image(tmp_path / held_out / "dog" / "4.png")
    train, evaluation = (open_folder(tmp_path, s) for s in ("train", "evaluation"))
    assert train.class_names == evaluation.class_names == ["cat", "dog"]
    assert names(train) == [("3.jpeg", "cat"), ("1.jpg", "dog"), ("2.png", "dog")]
    assert names(evaluation) == [("4.png", "dog")]
    image, label = train[2]
    assert image.shape == (3, 9, 12)
    assert label == 1


def test_open_folder_prefers_val_to_test(tmp_path, save_image):
    for part, name in (("train", "a"), ("val", "b"), ("test", "c")):
        save_image(tmp_path / part / "x" / f"{name}.png")
    assert names(open_folder(tmp_path, "evaluation")) == [("b.png", "x")]


def test_open_folder_takes_images_below_and_passes_other_files(tmp_path, save_image):
    save_image(tmp_path / "a" / "deep" / "down" / "1.png")
    save_image(tmp_path / "a" / "0.PNG")
    save_image(tmp_path / "a" / ".hidden.png")
    save_image(tmp_path / ".cache" / "1.png")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a", target_is_directory=True)
    assert names(open_folder(tmp_path, "train")) == [("0.PNG", "a"), ("1.png", "a")]


def test_a_phones_pictures_are_reported_and_not_passed_over(tmp_path, save_image):
    save_image(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "0.HEIC").write_bytes(b"\x00\x00\x00\x18ftypheic")
    source = open_folder(tmp_path, "train")
    assert names(source) == [("0.HEIC", "a"), ("1.png", "a")]
    with pytest.raises(UnreadableImageError):
        source[0]


def test_open_folder_follows_a_loop_only_once(tmp_path, save_image):
    save_image(tmp_path / "a" / "b" / "1.png")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a" / "b", target_is_directory=True)
    assert len(open_folder(tmp_path, "train")) == 1


def test_open_folder_counts_a_folder_called_like_an_image(tmp_path, save_image):
    save_image(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "x.jpg").mkdir()
    source = open_folder(tmp_path, "train")
    assert len(source) == 2
    with pytest.raises(UnreadableImageError, match="is a folder"):
        source[1]


def test_open_folder_without_fraction_gives_all_to_both(tmp_path, save_image):
    for name in "ab":
        save_image(tmp_path / name / "1.png")
    assert len(open_folder(tmp_path, "train")) == len(open_folder(tmp_path, "evaluation")) == 2


def test_open_folder_holds_out_a_share(tmp_path, save_image):
    for i in range(10):
        save_image(tmp_path / "a" / f"{i}.png", 2, 2)
        save_image(tmp_path / "b" / f"{i}.png", 2, 2)

    def split(seed: int) -> tuple[set[str], set[str]]:
        parts = [
            open_folder(tmp_path, s, validation_fraction=0.3, seed=seed)
            for s in ("train", "evaluation")
        ]
        return tuple({p.describe(i) for i in range(len(p))} for p in parts)

    train, held_out = split(0)
    assert (len(train), len(held_out)) == (14, 6)
    assert not train & held_out
    assert split(0) == (train, held_out)
    assert split(1)[1] != held_out


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=5).filter(lambda c: max(c) > 1),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_held_out_by_position_keeps_each_classs_share(counts, fraction, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    chosen = held_out_by_position(labels, fraction, seed)
    assert len(set(chosen)) == len(chosen)
    for label, count in enumerate(counts):
        held_out = int((labels[chosen] == label).sum())
        assert held_out == min(max(round(fraction * count), 1), count - 1)


def test_held_out_by_position_of_a_class_do_not_depend_on_the_others():
    alone = held_out_by_position(np.zeros(20, dtype=int), 0.25, seed=3)
    together = held_out_by_position(np.repeat([0, 1], 20), 0.25, seed=3)
    assert together[together < 20].tolist() == alone.tolist()


def test_open_folder_tells_what_is_wrong(tmp_path, save_image):
    with pytest.raises(InputError, match=r"there is no folder .*/absent"):
        open_folder(tmp_path / "absent", "train")
    with pytest.raises(InputError, match="is empty"):
        open_folder(tmp_path, "train")
    image = save_image(tmp_path / "1.png")
    with pytest.raises(InputError, match="is not a folder"):
        open_folder(image, "train")
    with pytest.raises(InputError, match="one folder per class"):
        open_folder(tmp_path, "train")
    (tmp_path / "bare").mkdir()
    save_image(tmp_path / "full" / "1.png")
    with pytest.raises(InputError, match=r"class folder .*/bare has no images"):
        open_folder(tmp_path, "train")
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match=r"folders .*/bare, .*/void have no images .* the folders"):
        open_folder(tmp_path, "train")
    (tmp_path / "void").rmdir()
    (tmp_path / "bare").rmdir()
    with pytest.raises(InputError, match="between 0 and 1"):
        open_folder(tmp_path, "train", validation_fraction=1.0)
    with pytest.raises(InputError, match="every class has a single one"):
        open_folder(tmp_path, "train", validation_fraction=0.2)


def test_open_folder_tells_that_it_may_not_read(tmp_path, save_image, monkeypatch):
    save_image(tmp_path / "a" / "1.png")

    def refuse(path):  # as root, permissions would not refuse
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(InputError, match=r"can't be read \(Permission denied\)"):
        open_folder(tmp_path, "train")


def test_open_folder_refuses_a_held_out_class_that_training_lacks(tmp_path, save_image):
    save_image(tmp_path / "train" / "cat" / "1.png")
    save_image(tmp_path / "val" / "dog" / "1.png")
    with pytest.raises(InputError, match=r"/val/dog has no counterpart"):
        open_folder(tmp_path, "evaluation")


def test_open_folder_evaluates_where_there_is_only_val(tmp_path, save_image):
    save_image(tmp_path / "val" / "dog" / "1.png")
    assert names(open_folder(tmp_path, "evaluation")) == [("1.png", "dog")]


def test_loose_images_are_those_beside_class_folders(tmp_path, save_image):
    for path in ("cat/1.png", "2.png", "train/3.JPG", "train/dog/4.png", ".5.png"):
        save_image(tmp_path / path)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "x.jpg").mkdir()
    assert loose_images(tmp_path) == [tmp_path / "2.png", tmp_path / "train" / "3.JPG"]


def test_val_beside_the_same_classes_without_train_is_refused(tmp_path, save_image):
    for path in ("cat/1.png", "dog/1.png", "val/cat/2.png"):
        save_image(tmp_path / path)
    for split in ("train", "evaluation"):
        with pytest.raises(InputError, match=r"/val holds a folder cat as .* move the class fold"):
            open_folder(tmp_path, split, validation_fraction=0.5)


def test_a_class_called_like_a_part_is_one_and_is_told(tmp_path, save_image):
    for path in ("cat/1.png", "dog/1.png", "test/kites/2.png"):
        save_image(tmp_path / path)
    save_image(tmp_path / "test" / "3.png")
    with pytest.warns(UserWarning, match="/test counts as a class called test: there is no train/"):
        source = open_folder(tmp_path, "train")
    assert source.class_names == ["cat", "dog", "test"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a run opens both splits, and says it once
        assert len(open_folder(tmp_path, "evaluation")) == 4
    assert loose_images(tmp_path) == []  # what lies in the class is not left out


def test_a_class_folder_whose_name_is_no_text_is_refused(tmp_path, save_image):
    """No weights file could hold the name, which was told when the training had ended."""
    save_image(tmp_path / "dog" / "1.png")
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")  # Latin-1, as of an old archive
    try:
        save_image(Path(strange) / "1.png")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    with pytest.raises(InputError, match=r"caf\\xe9' is not called in UTF-8.*; rename it"):
        open_folder(tmp_path, "train")
