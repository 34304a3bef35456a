import gc
import multiprocessing
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from xception.data.batch_memory import batch_memory
from xception.data.loading import EvaluationLoader, TrainingLoader
from xception.data.preprocessing import Preprocessing
from xception.data.transforms import TrainingTransform


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_batch_memory_has_shape_and_layout(layout):
    memory = batch_memory((4, 3, 5, 6), layout)
    assert memory.shape == (4, 3, 5, 6)
    assert memory.dtype == torch.uint8
    assert memory.is_contiguous(memory_format=layout)
    assert not memory.is_shared()


class Asked(Dataset):
    """Tells of memory that it asked for in a loader process."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        layout = (torch.contiguous_format, torch.channels_last)[index]
        memory = batch_memory((4, 3, 5, 6), layout)
        rightly = memory.is_contiguous(memory_format=layout) and memory.shape == (4, 3, 5, 6)
        return memory.is_shared() and rightly, memory.fill_(index + 1)


def test_batch_memory_of_a_loader_process_is_shared_from_the_start():
    told = list(DataLoader(Asked(), batch_size=None, num_workers=1))
    assert [shared for shared, _ in told] == [True, True]
    assert [memory.unique().tolist() for _, memory in told] == [[1], [2]]


def test_batches_stay_when_the_next_ones_come(numbered):
    """The memory of a batch is its own: no later batch is written over it."""
    transform = TrainingTransform(size=8, crop="inception")
    loader = TrainingLoader(numbered(40), transform, batch_size=4, num_workers=1)
    kept, copies = [], []
    for batch in loader:
        kept.append(batch.images)
        copies.append(batch.images.clone())
    assert len(kept) == 10
    assert all(map(torch.equal, kept, copies))
    loader.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_padding_is_black(numbered, workers):
    loader = EvaluationLoader(
        numbered(3), Preprocessing(size=8), batch_size=5, world_size=2, rank=1, num_workers=workers
    )
    (batch,) = loader
    assert batch.labels.tolist() == [2, -1]
    assert batch.images[1].eq(0).all()


def open_files(process):
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
def test_epochs_leave_no_memory_and_no_files_behind(numbered):
    transform = TrainingTransform(size=64, crop="inception")
    loader = TrainingLoader(numbered(40), transform, batch_size=4, num_workers=1)
    others = set(multiprocessing.active_children())  # what other tests left
    counts, workers = [], []
    for _ in range(4):
        assert [batch.images.dtype for batch in loader] == [torch.uint8] * 10
        gc.collect()
        (worker,) = set(multiprocessing.active_children()) - others
        workers.append(worker.pid)
        counts.append((open_files("self"), open_files(worker.pid)))
    loader.close()
    assert len(set(workers)) == 1  # started once, not again each epoch
    # Ten batches of shared memory an epoch: a leak would leave ten more open files.
    assert all(abs(a - b) < 5 for a, b in zip(counts[1], counts[3], strict=True))
