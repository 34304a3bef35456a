"""Which conversions go when there are many, and which of several is the newest."""

import os

import pytest
from conversions import IDENTITY, Builder

from xception.export import cache
from xception.export.cache import newest_entry, read_record, stored_or_built


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
