"""Which sample comes when: the order of the training samples as a pure function.

The state of a run is one integer, the number of samples seen. Everything else is arithmetic: epoch
and position from that integer, the sample from (seed, epoch, position), the micro-batch of a
process from its rank. So a run resumes in the middle of an epoch, with any number of loader
processes, and on another number of machines as long as the global batch stays the same.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mixed_seed(*numbers: int) -> int:
    """One 64-bit seed from several integers: SplitMix64's finalizer, folded over them.

    Neighbouring inputs give unrelated seeds: (0, 1) and (1, 0) have nothing in common.

    Example:
        >>> mixed_seed(0, 1) == mixed_seed(1, 0)
        False
    """
    state = 0
    for number in numbers:
        state = (state ^ (number & _MASK)) + _GOLDEN & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


class ScatteredOrder:
    """A permutation of 0 … num_samples - 1 that is computed place by place, and takes no memory.

    A Feistel network of four rounds permutes the numbers of an even count of bits; a number past
    the end is sent through it again until one within falls out (cycle walking), at most four times
    on average.

    Args:
        num_samples: How many.
        seed: Chooses the permutation.

    Example:
        >>> order = ScatteredOrder(350_000_000, seed=0)
        >>> len({order[place] for place in range(1000)})
        1000
    """

    _ROUNDS = 4

    def __init__(self, num_samples: int, seed: int) -> None:
        self.num_samples = num_samples
        self.seeds = [mixed_seed(seed, number) for number in range(self._ROUNDS)]
        self.half_bits = max(1, -(-(num_samples - 1).bit_length() // 2))

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, place: int) -> int:
        number = range(self.num_samples)[place]
        mask = (1 << self.half_bits) - 1
        while True:
            high, low = number >> self.half_bits, number & mask
            for seed in self.seeds:
                high, low = low, high ^ (mixed_seed(seed ^ low) & mask)
            number = high << self.half_bits | low
            if number < self.num_samples:
                return number


SCATTERED_FROM = 1 << 20
"""Samples from which an order is scattered: as an array it would take 4 MB and more a process."""


@lru_cache(maxsize=2)
def epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray | ScatteredOrder:
    """The order of one epoch: a permutation of 0 … num_samples - 1, by place.

    A pure function of its arguments. The last two are kept, so that a loader computes each once.
    Small sets get an array, (num_samples,) int32; large ones a `ScatteredOrder`.

    Args:
        num_samples: Size of the training set.
        seed: The run's data seed.
        epoch: Counted from 0.
    """
    if num_samples >= SCATTERED_FROM:
        return ScatteredOrder(num_samples, mixed_seed(seed, epoch))
    generator = torch.Generator().manual_seed(mixed_seed(seed, epoch))
    return torch.randperm(num_samples, generator=generator).numpy().astype(np.int32)


class Place(NamedTuple):
    """Where a run stands after a number of samples: the epoch and the step within it."""

    epoch: int
    step: int


def place(samples_seen: int, *, steps_per_epoch: int, batch_size: int) -> Place:
    """The epoch and the step that come after ``samples_seen`` samples.

    A number in the middle of a global batch counts from that batch's beginning.

    Example:
        >>> place(70, steps_per_epoch=3, batch_size=10)
        Place(epoch=2, step=1)
    """
    return Place(*divmod(samples_seen // batch_size, steps_per_epoch))


def micro_batch(
    step: int, part: int, *, batch_size: int, world_size: int, rank: int, accumulation: int
) -> range:
    """The positions, in the epoch's order, of one micro-batch of one process.

    The global batch is cut into ``accumulation * world_size`` equal slices; the slice
    ``part * world_size + rank`` belongs to ``rank``. So two processes see the same halves as one
    process that accumulates two.

    Args:
        step: The optimizer step within the epoch.
        part: Which of the ``accumulation`` micro-batches of the step.
        batch_size: Global batch: samples per optimizer step.
        world_size: Number of processes.
        rank: This process, from 0.
        accumulation: Micro-batches per optimizer step and process.

    Example:
        >>> [list(micro_batch(1, 0, batch_size=4, world_size=2, rank=r, accumulation=1))
        ...  for r in (0, 1)]
        [[4, 5], [6, 7]]
    """
    size = batch_size // (world_size * accumulation)
    start = step * batch_size + (part * world_size + rank) * size
    return range(start, start + size)
