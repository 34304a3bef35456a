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
from xception.data.shared_arrays import SHARED_FROM_BYTES, SharedArrays, start_method
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
    assert len(first) == 1
    assert first[0].is_shared()


def test_what_is_new_in_a_later_pickle_is_shared_beside_what_was_there():
    source = CachedSource(numbered(4))
    source[0], source[1]
    shared = SharedArrays(source)
    _, (_, before) = shared.__reduce__()
    source.fill()
    for held in source._kept.values():
        assert held[0].nbytes > SHARED_FROM_BYTES
    restore, (pickled, after) = shared.__reduce__()
    assert [len(before), len(after)] == [1, 2]
    assert before[0].data_ptr() == after[0].data_ptr()
    again = restore(pickled, after).batches
    assert all(torch.equal(again[i][0], source[i][0]) for i in range(4))


def test_tensors_and_arrays_keep_type_shape_and_order():
    """Sizes that are no multiple of one another's elements: each place has to be aligned."""
    square = torch.arange(3 * 61 * 61)
    things = {
        "bytes": square.remainder(256).byte().view(3, 61, 61),
        "doubles": square.double().view(3, 61, 61).permute(2, 0, 1),
        "half": square.bfloat16(),
        "repeated": torch.arange(5000.0).expand(3, 5000),
        "big-endian": np.arange(2500, dtype=">i8"),
        "columns": np.asfortranarray(np.arange(9999, dtype=np.int16).reshape(99, 101)),
        "texts": np.array([b"ab", b"c"] * 5000),
    }
    things["again"] = things["bytes"]
    restore, (pickled, blocks) = SharedArrays(things).__reduce__()
    again = restore(pickled, blocks).batches
    assert len(blocks) == 1
    assert len(pickled) < 1000
    assert again["again"] is again["bytes"]
    for name, thing in things.items():
        assert again[name].dtype == thing.dtype
        if isinstance(thing, torch.Tensor):
            assert torch.equal(again[name], thing)
            assert again[name].stride() == thing.clone().stride()
        else:
            np.testing.assert_array_equal(again[name], thing)


@pytest.mark.slow  # a test process with hundreds of tests behind it once died while it spawned
def test_thousands_of_cached_images_take_one_block_and_one_open_file():
    """2,000 images of 64x64 in blocks of their own would pass the usual limit of 1,024 files."""
    source = CachedSource(numbered(2000, Unforkable))
    source.fill()
    batches = TrainingBatches(source, AUGMENT, seed=0, attempts=1)
    _, (_, blocks) = SharedArrays(batches).__reduce__()
    assert len(blocks) == 1
    loader = TrainingLoader(source, AUGMENT, batch_size=500, seed=3, num_workers=1)
    spawned = list(loader)
    loader.close()
    alone = list(TrainingLoader(numbered(2000), AUGMENT, batch_size=500, seed=3))
    assert len(spawned) == 4
    for one, other in zip(alone, spawned, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


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


@pytest.mark.slow  # a test process with hundreds of tests behind it once died while it spawned
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
