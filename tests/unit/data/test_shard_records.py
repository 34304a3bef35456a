"""Shards by index: how many files stay open; and in which order one comes to the disk."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xception.data import shards
from xception.data.encoded_images import ImageFiles
from xception.data.manifest import Manifest, Shard
from xception.data.packing import NOTES, Packing, write_shard
from xception.data.records import Record, encode_record
from xception.data.targets import ImageTargets, SparseLabels


@pytest.mark.parametrize(("records", "most"), [(100, 128), (4096, 128), (65_536, 8), (2**20, 1)])
def test_open_files_hold_no_more_than_half_a_million_records(monkeypatch, records, most):
    """An open file keeps 8 bytes for each record: 4 MiB in all, but for one file larger still."""
    opened = set()
    stored = encode_record(Record("a", ImageTargets(np.array([0])), b"image"))

    class Reader:
        def __init__(self, path, options):
            self.path = path
            opened.add(path)
            assert len(opened) <= most

        def read(self, places):
            return [stored] * len(places)

        def close(self):
            opened.remove(self.path)

    monkeypatch.setattr(shards, "array_record", lambda: SimpleNamespace(ArrayRecordReader=Reader))
    listed = [Shard(f"{number}.array_record", records, 1, "") for number in range(300)]
    found = shards.ShardRecords(Path("x"), Manifest("p", ["cat"], True, None, listed, [300]))
    for place in np.random.default_rng(0).integers(len(found), size=1000):
        assert found[int(place)].image == b"image"
    assert len(opened) == most


@pytest.mark.skipif(sys.platform != "linux", reason="reads names of open files in /proc")
def test_a_shard_is_on_the_device_before_its_name_and_its_note_comes_last(tmp_path, monkeypatch):
    pytest.importorskip("array_record")
    (tmp_path / "a.png").write_bytes(b"image")
    events = []
    flush, replace = os.fsync, Path.replace

    def noted_flush(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        events.append(f"flush {path.name if path.is_file() else 'directory'}")
        flush(descriptor)

    def noted_replace(self, target):
        events.append(f"name {Path(target).name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_flush)
    monkeypatch.setattr(Path, "replace", noted_replace)
    labels = SparseLabels.from_lists([[0]], num_classes=1)
    packing = Packing(ImageFiles(tmp_path, ["a.png"]), labels, ["cat"], False)
    (tmp_path / NOTES).mkdir()
    shard = write_shard(packing, tmp_path, "0123", 0)
    assert events == [
        f"flush {shard.file}.partial",
        f"name {shard.file}",
        "flush directory",
        "name 0123-00000.json",  # says that the shard is there, so it has to be
    ]
