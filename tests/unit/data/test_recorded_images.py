"""A run's list of images against a folder in which images came, went, and changed their names."""

import shutil

import pytest

from xception.data.folders import open_folder
from xception.data.image_record import COLUMNS, read_record, record_files, write_record
from xception.data.recorded_images import (
    exactly_recorded,
    find_recorded,
    record_sources,
    require_unchanged,
    trained_on,
)
from xception.errors import InputError


@pytest.fixture
def folder(tmp_path, save_image):
    """Two classes of ten different images."""
    for number in range(10):
        save_image(tmp_path / "mine" / "cat" / f"{number}.png", seed=number)
        save_image(tmp_path / "mine" / "dog" / f"{number}.png", seed=100 + number)
    return tmp_path / "mine"


def recorded(folder, fraction=0.3):
    return record_sources(
        folder,
        *(open_folder(folder, s, validation_fraction=fraction) for s in ("train", "evaluation")),
    )


def paths(source):
    return [source.name(index) for index in range(len(source))]


def test_record_is_the_same_after_writing_and_reading(folder, tmp_path):
    (folder / "cat" / 'comma, "quote"\nline.png').write_bytes(b"no image")
    (folder / "cat" / "carriage\rreturn.png").write_bytes(b"no image either")
    (folder / "cat" / "no-utf8-\udcff.png").write_bytes(b"nor this")
    record = recorded(folder)
    write_record(record, tmp_path / "images.csv")
    assert read_record(tmp_path / "images.csv") == record
    assert read_record(tmp_path / "absent.csv") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("part,path\n", "its heading is another one"),
        ("HEADING\ntrain,cat/0.png,cat,12\n", "not enough values"),
        ("HEADING\ntrain,cat/0.png,cat,many,\n", "invalid literal"),
        ("HEADING\ntrian,cat/0.png,cat,12,\n", "there is no part 'trian'"),
        ("HEADING\ntrain,a.png,cat,1,\nheld-out,a.png,cat,1,\n", "a.png is there twice"),
        ("HEADING\ntrain,a.png,cat,1,\nheld-out,b.png,dog,1,\n", "no training image has .* 'dog'"),
    ],
)
def test_a_list_that_no_run_wrote_is_one_sentence(text, told, tmp_path):
    path = tmp_path / "images.csv"
    path.write_text(text.replace("HEADING", ",".join(COLUMNS)))
    with pytest.raises(InputError, match=f"images.csv, the list .*, is damaged .*{told}"):
        read_record(path)


def test_exactly_recorded_gives_both_parts_in_their_order(folder, save_image):
    record = recorded(folder)
    before = [open_folder(folder, s, validation_fraction=0.3) for s in ("train", "evaluation")]
    save_image(folder / "cat" / "00.png", seed=50)  # sorts before all others
    save_image(folder / "ant" / "1.png", seed=51)  # a class before all others
    for source, part in zip(before, ("train", "held-out"), strict=True):
        again = exactly_recorded(record, folder, part)
        assert [again.describe(i) for i in range(len(again))] == [
            source.describe(i) for i in range(len(source))
        ]
        assert again.labels.tolist() == source.labels.tolist()
        assert again.class_names == ["cat", "dog"]


def test_exactly_recorded_and_require_unchanged_refuse_other_images(folder):
    record = recorded(folder)
    first, second = (image.path for image in record.of("train")[:2])
    require_unchanged(record, folder)
    (folder / second).write_bytes((folder / second).read_bytes()[:-1] + b"x")  # the same size
    exactly_recorded(record, folder, "train")
    with pytest.raises(InputError, match=rf"1 of the run's 14 training images .* {second}\)"):
        require_unchanged(record, folder)
    for change in (lambda path: path.write_bytes(b"another size"), lambda path: path.unlink()):
        change(folder / first)
        with pytest.raises(InputError, match=rf"1 of the run's 14 training images .* {first}\)"):
            exactly_recorded(record, folder, "train")
    record = recorded(folder)
    held_out = record.of("held-out")[0].path
    (folder / held_out).write_bytes((folder / held_out).read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=rf"1 of the run's \d held-out images .* {held_out}\)"):
        require_unchanged(record, folder)


def test_find_recorded_gives_the_same_images_where_nothing_changed(folder):
    record = recorded(folder)
    found = find_recorded(record, folder, "held-out")
    assert paths(found.images) == [image.path for image in record.of("held-out")]
    assert (found.recorded, found.renamed, found.missing, len(found.new)) == (6, 0, [], 0)


def test_find_recorded_leaves_new_images_out_and_names_missing_ones(folder, save_image):
    record = recorded(folder)
    gone, kept = [image.path for image in record.of("held-out")][:2]
    (folder / gone).unlink()
    for number in range(10):
        save_image(folder / "cat" / f"new{number}.png", seed=50 + number)
    save_image(folder / "bird" / "1.png", seed=70)
    found = find_recorded(record, folder, "held-out")
    assert found.missing == [gone]
    assert len(found.images) == 5
    assert kept in paths(found.images)
    assert len(found.new) == 11
    assert found.images.class_names == ["cat", "dog"]  # a class of new images alone is no matter
    assert found.new.class_names == ["bird", "cat", "dog"]


def test_find_recorded_knows_images_by_their_bytes_after_renumbering(folder):
    """Every file gets its successor's name: all names are there, most with other bytes."""
    record = recorded(folder)
    held_out = {(folder / image.path).read_bytes() for image in record.of("held-out")}
    for class_folder in (folder / "cat", folder / "dog"):
        files = sorted(class_folder.iterdir())
        for file in files:
            file.rename(file.with_suffix(".moved"))
        for before, after in zip(files, [*files[1:], files[0]], strict=True):
            before.with_suffix(".moved").rename(after)
    found = find_recorded(record, folder, "held-out")
    now = {(folder / path).read_bytes() for path in paths(found.images)}
    assert now == held_out
    assert (found.renamed, found.missing, len(found.new)) == (6, [], 0)


def test_find_recorded_never_takes_a_training_image_that_got_a_held_out_name(folder):
    record = recorded(folder)
    victim, trained = record.of("held-out")[0], record.of("train")[0]
    shutil.copy(folder / trained.path, folder / victim.path)
    found = find_recorded(record, folder, "held-out")
    assert found.missing == [victim.path]
    assert victim.path not in paths(found.images)
    assert len(found.new) == 0


def test_find_recorded_takes_a_corrected_class_and_a_renamed_class_folder(folder):
    record = recorded(folder)
    image = record.of("held-out")[0]
    assert image.class_name == "cat"
    (folder / image.path).rename(folder / "dog" / "was-called-cat.png")
    found = find_recorded(record, folder, "held-out")
    label = found.images.labels[paths(found.images).index("dog/was-called-cat.png")]
    assert found.images.class_names[label] == "dog"
    (folder / "cat").rename(folder / "kitten")
    found = find_recorded(record, folder, "held-out")
    assert (found.renamed, found.missing) == (3, [])
    assert "kitten" in found.images.class_names


def test_find_recorded_of_two_classes_with_the_same_bytes_misses_the_one_that_is_gone(folder):
    first, *_, last = recorded(folder).of("held-out")
    assert (first.class_name, last.class_name) == ("cat", "dog")
    shutil.copy(folder / first.path, folder / last.path)
    record = recorded(folder)
    (folder / first.path).unlink()
    (folder / last.path).rename(folder / "dog" / "renamed.png")
    found = find_recorded(record, folder, "held-out")
    assert (found.missing, found.renamed) == ([first.path], 1)


def test_find_recorded_looks_into_train_and_val(folder, tmp_path, save_image):
    """A drawn share stays the same share when the folder is sorted into train/ and val/."""
    record = recorded(folder)
    held_out = sorted((folder / image.path).read_bytes() for image in record.of("held-out"))
    (tmp_path / "sorted").mkdir()
    folder.rename(tmp_path / "sorted" / "train")
    save_image(tmp_path / "sorted" / "val" / "cat" / "0.png", seed=0)  # a copy of cat/0.png
    save_image(tmp_path / "sorted" / "val" / "cat" / "n.png", seed=90)
    found = find_recorded(record, tmp_path / "sorted", "held-out")
    root = tmp_path / "sorted"
    assert sorted((root / path).read_bytes() for path in paths(found.images)) == held_out
    assert paths(found.new) == ["val/cat/n.png"]


def test_images_in_val_that_were_trained_on_are_none_of_those_held_out(tmp_path, save_image):
    for number in range(4):
        save_image(tmp_path / "train" / "cat" / f"{number}.png", seed=number)
        save_image(tmp_path / "val" / "cat" / f"{number}.png", seed=10 + number)
    save_image(tmp_path / "test" / "cat" / "0.png", seed=20)
    record = record_sources(
        tmp_path, open_folder(tmp_path, "train"), open_folder(tmp_path, "evaluation")
    )
    assert [image.path for image in record.of("unused")] == ["test/cat/0.png"]
    (tmp_path / "train" / "cat" / "0.png").rename(tmp_path / "val" / "cat" / "moved.png")
    found = find_recorded(record, tmp_path, "held-out")
    assert paths(found.images) == [f"val/cat/{number}.png" for number in range(4)]
    assert len(found.new) == 0
    held_out = [str(path) for path in sorted((tmp_path / "val" / "cat").iterdir())]
    assert trained_on(record, held_out) == [str(tmp_path / "val" / "cat" / "moved.png")]


def test_twins_are_held_out_images_with_a_training_images_bytes(folder):
    record = recorded(folder)
    assert record.twins() == []
    trained, held_out = record.of("train")[0], record.of("held-out")[-1]
    shutil.copy(folder / trained.path, folder / held_out.path)
    assert recorded(folder).twins() == [(held_out.path, trained.path)]


def test_contradictions_are_images_with_the_bytes_of_another_class(folder):
    record = recorded(folder)
    assert record.contradictions() == []
    twin, other = record.of("train")[0], record.of("held-out")[-1]
    assert twin.class_name != other.class_name
    shutil.copy(folder / twin.path, folder / other.path)
    same = next(i for i in record.of("train")[1:] if i.class_name == twin.class_name)
    shutil.copy(folder / twin.path, folder / same.path)  # a copy in its own class is none
    assert recorded(folder).contradictions() == [(other.path, twin.path)]


def test_record_files_of_too_many_bytes_knows_names_and_sizes(folder):
    listed = [("train", "cat/0.png", "cat"), ("held-out", "cat/1.png", "cat")]
    size = (folder / "cat" / "0.png").stat().st_size + (folder / "cat" / "1.png").stat().st_size
    assert all(image.sha256 for image in record_files(folder, listed, most_bytes=size).images)
    record = record_files(folder, listed, most_bytes=size - 1)
    assert [image.sha256 for image in record.images] == ["", ""]
    found = find_recorded(record, folder, "held-out")
    assert paths(found.images) == ["cat/1.png"]
    (folder / "cat" / "1.png").write_bytes(b"another size")
    assert find_recorded(record, folder, "held-out").missing == ["cat/1.png"]
    require_unchanged(record, folder)
    assert trained_on(record, [str(folder / "cat" / "0.png")]) == []
