import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from xception.errors import InputError
from xception.export import cache
from xception.export.cache import (
    add_to_record,
    cache_folders,
    entry_name,
    newest_entry,
    read_record,
    stored_or_built,
    weights_digest,
)
from xception.weights.sources import cache_directory

IDENTITY = {"engine": "torch", "weights": "abc"}


@pytest.fixture
def weights_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XCEPTION_CACHE", str(tmp_path / "user"))
    (tmp_path / "model").mkdir()
    return tmp_path / "model" / "model.safetensors"


class Builder:
    """Writes a file and counts how often."""

    def __init__(self, text="converted"):
        self.text, self.calls = text, 0

    def __call__(self, folder):
        self.calls += 1
        (folder / "model.bin").write_text(self.text)
        return {"difference": 0.5}


def test_weights_digest_tells_every_tensor_and_name_apart():
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    seen = {weights_digest(first)}
    changed = [
        lambda m: m[0].weight.data[1, 1].add_(1e-6),
        lambda m: m[0].bias.data.neg_(),
        lambda m: m[1].running_var.mul_(2),  # a buffer, no parameter
        lambda m: setattr(m, "arguments", {"width": 2}),
        lambda m: setattr(m, "architecture", "xception"),
        lambda m: m.double(),
    ]
    for change in changed:
        change(first)
        seen.add(weights_digest(first))
    assert len(seen) == 1 + len(changed)
    assert weights_digest(first) in seen


def test_stored_or_built_builds_once_and_tells_what_it_built(weights_file):
    build = Builder()
    entry = stored_or_built(weights_file, IDENTITY, build)
    assert entry == stored_or_built(weights_file, dict(reversed(IDENTITY.items())), build)
    assert build.calls == 1
    assert entry.parent == weights_file.parent / "model.safetensors.engines"
    record = read_record(entry)
    assert (record["identity"], record["difference"]) == (IDENTITY, 0.5)
    assert (entry / "model.bin").read_text() == "converted"


@pytest.mark.parametrize("changed", [{"weights": "abd"}, {"engine": "compile"}, {"size": 299}])
def test_stored_or_built_builds_anew_for_another_identity(weights_file, changed):
    build = Builder()
    stored_or_built(weights_file, IDENTITY, build)
    stored_or_built(weights_file, IDENTITY | changed, build)
    assert build.calls == 2


def damage_bytes(entry):
    (entry / "model.bin").write_text("converteD")


def cut(entry):
    (entry / "model.bin").write_text("conv")


def remove_file(entry):
    (entry / "model.bin").unlink()


def cut_record(entry):
    (entry / cache.RECORD).write_text('{"files": {')


def record_of_another_kind(entry):
    (entry / cache.RECORD).write_text('["files"]')


@pytest.mark.parametrize(
    "damage", [damage_bytes, cut, remove_file, cut_record, record_of_another_kind]
)
def test_stored_or_built_replaces_a_damaged_conversion(weights_file, damage):
    build = Builder()
    entry = stored_or_built(weights_file, IDENTITY, build)
    damage(entry)
    assert read_record(entry) is None
    assert stored_or_built(weights_file, IDENTITY, build) == entry
    assert build.calls == 2
    assert (entry / "model.bin").read_text() == "converted"
    assert read_record(entry) is not None


def test_stored_or_built_leaves_nothing_behind_when_building_fails(weights_file):
    def fail(folder):
        (folder / "model.bin").write_text("half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match=r"^no$"):
        stored_or_built(weights_file, IDENTITY, fail)
    folder = cache_folders(weights_file)[0]
    assert [path.suffix for path in folder.iterdir()] == [".lock"]


def test_stored_or_built_clears_away_what_a_killed_process_left(weights_file):
    folder = cache_folders(weights_file)[0]
    left = folder / f".building-{entry_name(IDENTITY)}"
    left.mkdir(parents=True)
    (left / "half.bin").write_text("half")
    entry = stored_or_built(weights_file, IDENTITY, Builder())
    assert sorted(path.name for path in entry.iterdir()) == ["model.bin", cache.RECORD]
    assert not left.exists()


def _build_slowly(weights_file, log):
    def build(folder):
        with Path(log).open("a") as file:
            file.write("built\n")
        time.sleep(0.3)
        (folder / "model.bin").write_text("converted")
        return {}

    entry = stored_or_built(weights_file, IDENTITY, build)
    assert (entry / "model.bin").read_text() == "converted"


def test_stored_or_built_builds_once_for_several_processes(weights_file, tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_build_slowly, args=(weights_file, log)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == "built\n"


def forbid(path):
    """Makes a folder impossible to create; a mode would not stop the superuser."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")


def test_stored_or_built_takes_the_users_cache_where_it_can_not_write(weights_file, tmp_path):
    beside, elsewhere = cache_folders(weights_file)
    forbid(beside)
    build = Builder()
    entry = stored_or_built(weights_file, IDENTITY, build)
    assert entry.parent == elsewhere
    assert elsewhere.is_relative_to(tmp_path / "user")
    stored_or_built(weights_file, IDENTITY, build)
    assert build.calls == 1


def test_stored_or_built_keeps_for_this_process_what_it_can_write_nowhere(weights_file):
    folders = cache_folders(weights_file)
    for folder in folders:
        forbid(folder)
    build = Builder()
    with pytest.warns(UserWarning, match=r"can't be stored in .* or in .* set XCEPTION_CACHE to a"):
        entry = stored_or_built(weights_file, IDENTITY, build)
    assert entry == stored_or_built(weights_file, IDENTITY, build)
    assert build.calls == 1
    assert (entry / "model.bin").read_text() == "converted"
    stored_or_built(weights_file, IDENTITY | {"size": 71}, build)  # without another warning
    cache._temporary.pop(str(weights_file.resolve())).cleanup()
    assert not entry.exists()


def test_a_user_without_a_home_keeps_conversions_beside_the_weights(weights_file, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XCEPTION_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    (beside,) = cache_folders(weights_file)
    assert stored_or_built(weights_file, IDENTITY, Builder()).parent == beside
    with pytest.raises(InputError, match=r"there is no home directory .* set XCEPTION_CACHE"):
        cache_directory()


def test_stored_or_built_says_what_to_set_if_there_is_no_temporary_folder(
    weights_file, monkeypatch
):
    for folder in cache_folders(weights_file):
        forbid(folder)
    monkeypatch.setattr(cache.tempfile, "tempdir", str(weights_file / "nowhere"))
    with pytest.raises(InputError, match=r"can't be stored in .*; set XCEPTION_CACHE to a"):
        stored_or_built(weights_file, IDENTITY, Builder())


def test_stored_or_built_reads_a_conversion_in_a_folder_that_can_not_be_written(
    weights_file, monkeypatch
):
    build = Builder()
    entry = stored_or_built(weights_file, IDENTITY, build)
    monkeypatch.setattr(cache, "_is_writable", lambda folder: False)
    monkeypatch.setattr(cache.os, "utime", _refuse)
    assert stored_or_built(weights_file, IDENTITY, build) == entry
    assert build.calls == 1


def _refuse(*_):
    raise PermissionError("read-only file system")


def test_the_conversions_used_longest_ago_go_first(weights_file, monkeypatch):
    monkeypatch.setattr(cache, "MOST_ENTRIES", 3)
    entries = []
    for number in range(3):
        entries.append(stored_or_built(weights_file, IDENTITY | {"n": number}, Builder()))
        os.utime(entries[-1], (number + 1, number + 1))
    stored_or_built(weights_file, IDENTITY | {"n": 0}, Builder())  # used again: now the newest
    new = stored_or_built(weights_file, IDENTITY | {"n": 3}, Builder())
    left = {path for path in new.parent.iterdir() if path.is_dir()}
    assert left == {entries[0], entries[2], new}


def test_newest_entry_counts_as_used(weights_file, monkeypatch):
    """What is found without its whole identity (8 bits) must not go as the oldest."""
    monkeypatch.setattr(cache, "MOST_ENTRIES", 3)
    kept = stored_or_built(weights_file, IDENTITY | {"engine": "openvino-int8"}, Builder())
    os.utime(kept, (1, 1))
    for number in range(4):
        # Found by its engine alone, as without calibration images.
        assert newest_entry(weights_file, {"engine": "openvino-int8"}) == kept
        other = stored_or_built(weights_file, IDENTITY | {"n": number}, Builder())
        os.utime(other, (number + 2, number + 2))
    left = [path for path in kept.parent.iterdir() if path.is_dir()]
    assert kept in left
    assert len(left) == 3


@pytest.mark.parametrize("find", ["newest_entry", "stored_or_built"])
def test_a_conversion_may_be_pruned_by_another_process_meanwhile(weights_file, monkeypatch, find):
    """Between the listing of the folder and the question for an entry's age."""
    entry = stored_or_built(weights_file, IDENTITY, Builder())
    gone = entry.with_name("torch-gone")
    listed = cache._entries
    monkeypatch.setattr(cache, "_entries", lambda folder: [gone, *listed(folder)])
    if find == "newest_entry":
        assert newest_entry(weights_file, IDENTITY) == entry
    else:
        monkeypatch.setattr(cache, "MOST_ENTRIES", 2)
        other = stored_or_built(weights_file, IDENTITY | {"n": 1}, Builder())
        assert read_record(entry)  # the one that is gone was the oldest
        assert read_record(other)


def test_newest_entry_is_the_one_used_last_that_agrees(weights_file):
    entries = []
    for number in range(3):
        identity = IDENTITY | {"n": number, "even": number % 2 == 0}
        entries.append(stored_or_built(weights_file, identity, Builder()))
        os.utime(entries[-1], (number + 1, number + 1))
    assert newest_entry(weights_file, IDENTITY) == entries[2]
    assert newest_entry(weights_file, IDENTITY | {"even": False}) == entries[1]
    assert newest_entry(weights_file, IDENTITY | {"n": 7}) is None
    assert newest_entry(weights_file, {"engine": "tor"}) is None
    (entries[2] / "model.bin").write_text("damaged")
    for number, entry in enumerate(entries):  # the questions above counted as uses
        os.utime(entry, (number + 1, number + 1))
    assert newest_entry(weights_file, IDENTITY) == entries[1]


def test_add_to_record_keeps_what_is_known(weights_file):
    entry = stored_or_built(weights_file, IDENTITY, Builder())
    assert add_to_record(entry, {"accuracy": {"top1": 0.9}})
    record = json.loads((entry / cache.RECORD).read_text())
    assert record["accuracy"] == {"top1": 0.9}
    assert record["difference"] == 0.5
    assert read_record(entry) == record


def test_add_to_record_tells_that_it_could_not(weights_file):
    assert not add_to_record(weights_file.parent / "none" / "entry", {"accuracy": 1})
