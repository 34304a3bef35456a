"""Spawned loader processes map the arrays of a data set; they get no copy of them."""

import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch

from xception.data.batches import TrainingBatches
from xception.data.cache import CachedSource
from xception.data.loader_processes import Plan, data_loader
from xception.data.loading import TrainingLoader
from xception.data.shared_arrays import SharedArrays, start_method
from xception.data.sources import ArraySource, FileSource, Subset
from xception.data.transforms import TrainingTransform

AUGMENT = TrainingTransform(size=8)


def index_of(files):
    names = [f"n{i % 1000:08d}/n{i % 1000:08d}_{i}.JPEG" for i in range(files)]
    return FileSource("/data/train", names, np.arange(files) % 1000, [str(i) for i in range(1000)])


@pytest.mark.parametrize("files", [10_000, 200_000])
def test_what_is_pickled_does_not_grow_with_the_index(files):
    """The class names and the code's own objects remain: 1,000 short names are some 8 kB."""
    source = Subset(index_of(files), np.arange(0, files, 2))
    batches = TrainingBatches(source, AUGMENT, seed=0, attempts=1)
    assert len(pickle.dumps(batches)) > 20 * files  # what a copy would take
    assert len(ForkingPickler.dumps(SharedArrays(batches))) < 20_000


def test_all_processes_share_one_copy():
    batches = SharedArrays(TrainingBatches(index_of(10_000), AUGMENT, seed=0, attempts=1))
    (_, first), (_, second) = batches.__reduce__()[1], batches.__reduce__()[1]
    assert [t.data_ptr() for t in first] == [t.data_ptr() for t in second]
    assert all(tensor.is_shared() for tensor in first)


def test_arrays_come_back_the_same_and_read_only():
    files = index_of(10_000)
    source = Subset(files, np.arange(0, 10_000, 2))
    restore, arguments = SharedArrays(
        TrainingBatches(source, AUGMENT, seed=0, attempts=1)
    ).__reduce__()
    again = restore(*arguments).batches.source
    for place in (0, 1, 4_999):
        assert again.describe(place) == source.describe(place) == files.describe(2 * place)
    np.testing.assert_array_equal(again.labels, source.labels)
    assert again.labels.dtype == source.labels.dtype
    with pytest.raises(ValueError, match="read-only"):
        again.indices[0] = 1


class Unforkable(ArraySource):
    """Images of a library that keeps threads."""

    forkable = False


def numbered(count, kind=ArraySource):
    images = torch.arange(count * 3 * 64 * 64).view(count, 3, 64, 64).remainder(251).byte()
    return kind(images, [i % 3 for i in range(count)], ["a", "b", "c"])


def test_a_source_that_must_not_be_forked_is_spawned_however_it_is_wrapped():
    source = numbered(4, Unforkable)
    assert start_method(Subset(source, [0, 1])) == start_method(CachedSource(source)) == "spawn"
    assert start_method(Subset(numbered(4), [0, 1])) != "spawn"
    batches = TrainingBatches(source, AUGMENT, seed=0, attempts=1)
    loader = data_loader(batches, Plan(), 1, persistent=False, pin_memory=False)
    assert loader.multiprocessing_context.get_start_method() == "spawn"


def test_spawned_processes_give_the_same_batches_and_go_on_in_the_middle():
    """Images and labels lie in shared memory here; from the third batch on, a resumed loader."""
    alone = list(TrainingLoader(numbered(23), AUGMENT, batch_size=5, seed=3))
    spawned = TrainingLoader(
        numbered(23, Unforkable), AUGMENT, batch_size=5, seed=3, num_workers=1, samples_seen=10
    )
    found = list(spawned)
    spawned.close()
    assert len(found) == 2
    for one, other in zip(alone[2:], found, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.indices, other.indices)
