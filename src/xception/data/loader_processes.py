"""Loader processes: how they start, what they are handed, and the batches that come back.

Where they start by fork they share their parent's memory; where they are spawned they map its large
arrays (`xception.data.shared_arrays`). Either way an index of millions of images is there once.
"""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset

from xception.data.batches import Batch, EvaluationBatches, TrainingBatches
from xception.data.cache import is_in_memory, is_small
from xception.data.shared_arrays import SharedArrays, start_method
from xception.data.shared_memory import processes_that_fit
from xception.data.sources import AnySource
from xception.data.worker_process import cpu_cores, script_left_out, settle_worker, signals_held
from xception.errors import InputError

_MOST = 16


def processes_for(
    source: AnySource, wanted: int | Literal["auto"], *, devices: int, batch_bytes: int = 0
) -> int:
    """How many loader processes a training process has.

    Args:
        source: The images.
        wanted: So many; "auto": none for small images in memory, else one per CPU core, at most 16
            and at most as many as there is shared memory for.
        devices: Training processes on this machine, which share its cores.
        batch_bytes: Size of a batch.

    Raises:
        InputError: A negative number.
    """
    if wanted != "auto":
        if wanted < 0:
            raise InputError(f"data.num_workers is {wanted}; it can't be negative")
        return wanted
    if is_in_memory(source) and is_small(source):
        return 0
    return processes_that_fit(max(1, min(_MOST, cpu_cores() // devices)), devices * batch_bytes)


class Plan:
    """The keys of the batches to load, set before an iteration; ``DataLoader`` calls it sampler."""

    keys: Iterable[Any] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys)


def data_loader(
    batches: TrainingBatches | EvaluationBatches,
    plan: Plan,
    num_workers: int,
    *,
    persistent: bool,
    pin_memory: bool,
) -> DataLoader[Batch]:
    """PyTorch's loader, reduced to what it is needed for: processes that fetch by key.

    Args:
        batches: Makes a batch of a key.
        plan: The keys.
        num_workers: Loader processes; 0 loads in the main process.
        persistent: Whether the processes outlive an iteration.
        pin_memory: Whether batches lie in pinned memory, from which a GPU copies faster.
    """
    method = start_method(batches.source) if num_workers else None
    copied = num_workers > 0 and method != "fork"
    dataset: Dataset[Batch] = SharedArrays(batches) if copied else batches
    return DataLoader(
        dataset,
        batch_size=None,  # a key is a whole batch
        sampler=plan,
        collate_fn=_unchanged,
        num_workers=num_workers,
        persistent_workers=persistent and num_workers > 0,
        pin_memory=pin_memory,
        multiprocessing_context=method,
        worker_init_fn=settle_worker,
        # Its own generator: a loader must not draw from the global one, which belongs to the model.
        generator=torch.Generator(),
    )


def fetched(loader: DataLoader[Batch]) -> Iterator[Batch]:
    """The batches of one iteration; pinning turns tuples into lists, and this turns them back.

    Args:
        loader: Of `data_loader`.
    """
    own = isinstance(loader.dataset, SharedArrays) and not loader.dataset.from_script
    with signals_held(), script_left_out() if own else nullcontext():
        batches = iter(loader)
    for batch in batches:
        yield batch._replace(skipped=[(index, reason) for index, reason in batch.skipped])


def _unchanged(batch: Any) -> Any:
    return batch
