"""Shards by index: how many files stay open."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xception.data import shards
from xception.data.manifest import Manifest, Shard
from xception.data.records import Record, encode_record
from xception.data.targets import ImageTargets


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
