"""Loaders: the batches of one process, in the run's order, with any number of loader processes."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

from xception.data.batches import Batch, EvaluationBatches, TrainingBatches
from xception.data.crop_decoding import Decoding
from xception.data.loader_processes import Plan, data_loader, fetched
from xception.data.order import micro_batch, place
from xception.data.preprocessing import Preprocessing
from xception.data.shared_memory import require_shared_memory
from xception.data.sources import AnySource
from xception.data.transforms import TrainingTransform
from xception.errors import InputError, count_of

__all__ = ["Batch", "EvaluationLoader", "TrainingLoader"]

log = logging.getLogger(__name__)


class TrainingLoader:
    """The training batches of one process.

    Iterating gives the batches from ``samples_seen`` to the end of that epoch. An epoch has
    ``num_samples // batch_size`` global batches; what is left over of its order is not used (and
    differs from epoch to epoch). Which samples a batch holds, and how each is augmented, depends on
    nothing but the seed and the batch's place in the run.

    ``samples_seen`` moves on when a batch is handed out: after the last micro-batch of a step, on
    every process, it is the number of samples of all steps so far. A batch that a loader process
    has prepared, but nobody has asked for, is not counted.

    Args:
        source: The training images.
        transform: Their augmentation.
        batch_size: Global batch: samples per optimizer step, over all processes and accumulation.
        seed: Of the order and of the augmentation.
        num_workers: Loader processes; 0 loads in the main process.
        world_size: Number of training processes.
        rank: This one, from 0.
        accumulation: Micro-batches per optimizer step and process.
        max_unreadable: Different unreadable images that are passed over before training stops.
        pin_memory: Whether batches lie in pinned memory, from which a GPU copies faster.
        samples_seen: Where to begin: samples since the start of the run, over all processes.
        decoding: How encoded images are decoded; see `xception.data.crop_decoding`.

    Raises:
        InputError: The batch does not divide evenly, or there are fewer images than it holds.

    Example:
        >>> from xception.data.digits import open_digits
        >>> loader = TrainingLoader(
        ...     open_digits("train"), TrainingTransform(size=32), batch_size=479)
        >>> [len(batch.labels) for batch in loader], loader.samples_seen
        ([479, 479, 479], 1437)
    """

    def __init__(
        self,
        source: AnySource,
        transform: TrainingTransform,
        *,
        batch_size: int,
        seed: int = 0,
        num_workers: int = 0,
        world_size: int = 1,
        rank: int = 0,
        accumulation: int = 1,
        max_unreadable: int = 100,
        pin_memory: bool = False,
        samples_seen: int = 0,
        decoding: Decoding = "exact",
    ) -> None:
        _check_division(batch_size, world_size, accumulation)
        if len(source) < batch_size:
            raise InputError(
                f"the training set has {count_of(len(source), 'image')}, fewer than one batch of "
                f"{batch_size:,}; set data.batch_size to {len(source)} or less"
            )
        assert 0 <= rank < world_size
        self.source = source
        self.batch_size = batch_size
        self.world_size = world_size
        self.rank = rank
        self.accumulation = accumulation
        self.max_unreadable = max_unreadable
        self.samples_seen = samples_seen
        self.unreadable: dict[int, str] = {}
        """Unreadable images met so far by this process: index to "name: reason"."""
        self._batches = TrainingBatches(
            source, transform, seed=seed, attempts=max(1, max_unreadable + 1), decoding=decoding
        )
        images = batch_size // (world_size * accumulation)
        require_shared_memory(num_workers, images * 3 * transform.size**2)
        self._plan = Plan()
        self._build = partial(
            data_loader,
            self._batches,
            self._plan,
            num_workers,
            persistent=True,
            pin_memory=pin_memory,
        )
        self._loader = self._build()

    @property
    def steps_per_epoch(self) -> int:
        """Global batches, that is optimizer steps, in an epoch."""
        return len(self.source) // self.batch_size

    def __len__(self) -> int:
        """Micro-batches of a full epoch on this process."""
        return self.steps_per_epoch * self.accumulation

    def __iter__(self) -> Iterator[Batch]:
        epoch, first = place(
            self.samples_seen, steps_per_epoch=self.steps_per_epoch, batch_size=self.batch_size
        )
        self._plan.keys = (
            (epoch, self._positions(step, part))
            for step in range(first, self.steps_per_epoch)
            for part in range(self.accumulation)
        )
        start = (epoch * self.steps_per_epoch + first) * self.batch_size
        share = self.batch_size // self.accumulation  # samples per micro-batch, all processes
        for number, batch in enumerate(fetched(self._loader), start=1):
            self._account(batch)
            self.samples_seen = start + number * share
            yield batch

    def _positions(self, step: int, part: int) -> range:
        return micro_batch(
            step,
            part,
            batch_size=self.batch_size,
            world_size=self.world_size,
            rank=self.rank,
            accumulation=self.accumulation,
        )

    def _account(self, batch: Batch) -> None:
        """Logs newly met unreadable images, and stops when there are too many."""
        for index, reason in batch.skipped:
            if index not in self.unreadable:
                self.unreadable[index] = reason
                log.warning("skipped an unreadable training image: %s", reason)
        if len(self.unreadable) > self.max_unreadable or bool((batch.labels < 0).any()):
            first = next(iter(self.unreadable.values()))
            raise InputError(
                f"{len(self.unreadable)} training images can't be read, the first is {first}; "
                f"the limit is data.max_unreadable = {self.max_unreadable}: repair or remove "
                "them, or raise it"
            )

    def close(self) -> None:
        """Ends the loader processes; another iteration starts new ones."""
        self._loader = self._build()

    def state_dict(self) -> dict[str, int]:
        """All that a resume needs."""
        return {"samples_seen": self.samples_seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on after the samples that ``state_dict`` had counted."""
        self.samples_seen = int(state["samples_seen"])


class EvaluationLoader:
    """Every image of a source once, in order, over all processes.

    Every process gets the same number of batches, of the same sizes; what is missing at the end is
    padding, whose label and index are -1. Unreadable images have the label -1 too, and are named
    in ``Batch.skipped``.

    Args:
        source: The images.
        preprocessing: Their crop and size.
        batch_size: Images per batch and process.
        num_workers: Loader processes; 0 loads in the main process.
        world_size: Number of processes.
        rank: This one, from 0.
        pin_memory: Whether batches lie in pinned memory, from which a GPU copies faster.

    Example:
        >>> from xception.data.digits import open_digits
        >>> loader = EvaluationLoader(
        ...     open_digits("evaluation"), Preprocessing(size=32), batch_size=200)
        >>> [len(batch.labels) for batch in loader]
        [200, 160]
    """

    def __init__(
        self,
        source: AnySource,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        num_workers: int = 0,
        world_size: int = 1,
        rank: int = 0,
        pin_memory: bool = False,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"the evaluation batch is {batch_size}; it must be at least 1 image")
        assert 0 <= rank < world_size
        self.source = source
        self.batch_size = batch_size
        self.world_size = world_size
        self.rank = rank
        require_shared_memory(num_workers, batch_size * 3 * preprocessing.size**2)
        plan = Plan()
        plan.keys = self._ranges()
        self._length = len(plan.keys)
        batches = EvaluationBatches(source, preprocessing)
        self._loader = data_loader(
            batches, plan, num_workers, persistent=False, pin_memory=pin_memory
        )

    def __len__(self) -> int:
        """Batches on this process, the same on all."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        yield from fetched(self._loader)

    def _ranges(self) -> list[range]:
        """For each batch of this process, its images; those past the last one are padding."""
        total, together = len(self.source), self.batch_size * self.world_size
        ranges = []
        for start in range(0, total, together):
            # The last batch is shared evenly, so that it is no larger than it must be.
            size = min(self.batch_size, -(-(total - start) // self.world_size))
            first = start + self.rank * size
            ranges.append(range(first, first + size))
        return ranges


def _check_division(batch_size: int, world_size: int, accumulation: int) -> None:
    parts = world_size * accumulation
    if batch_size < 1 or batch_size % parts:
        raise InputError(
            f"the global batch of {batch_size} images does not divide evenly over {world_size} "
            f"processes x {accumulation} accumulated micro-batches; set data.batch_size to a "
            f"multiple of {parts}, such as {max(1, round(batch_size / parts)) * parts}"
        )
