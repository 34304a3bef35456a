"""Conversions kept beside the weights: each built once, whole, and known by its identity."""

import json
import multiprocessing
import time
from pathlib import Path

import pytest
import torch
from conversions import IDENTITY, Builder
from torch import nn

from xception.export import cache
from xception.export.cache import (
    add_to_record,
    cache_folders,
    entry_name,
    read_record,
    stored_or_built,
    weights_digest,
)


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


def test_add_to_record_keeps_what_is_known(weights_file):
    entry = stored_or_built(weights_file, IDENTITY, Builder())
    assert add_to_record(entry, {"accuracy": {"top1": 0.9}})
    record = json.loads((entry / cache.RECORD).read_text())
    assert record["accuracy"] == {"top1": 0.9}
    assert record["difference"] == 0.5
    assert read_record(entry) == record


def test_add_to_record_tells_that_it_could_not(weights_file):
    assert not add_to_record(weights_file.parent / "none" / "entry", {"accuracy": 1})
