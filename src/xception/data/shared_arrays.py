"""Large arrays of a data set, one copy for all loader processes that are spawned.

A forked process shares its parent's memory. A spawned one gets a pickled copy of the data set, and
an index of millions of images would be copied to each. Here the arrays leave the pickle: they are
put into shared memory once, all into one block (a block takes an open file in each process, and the
system allows some thousand), and every process maps it.
"""

import io
import math
import pickle
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from xception.data.batches import Batch

SHARED_FROM_BYTES = 1 << 13
"""Arrays of this size and more are shared; smaller ones are cheaper to copy."""

_ALIGNED = 64  # bytes: a cache line, and a multiple of every element

Place = tuple[int, int, str | torch.dtype, tuple[int, ...], tuple[int, ...] | None]
"""Where an array lies: block, first byte, type, shape; strides of a tensor, None of an array."""


@dataclass
class _Shared:
    """What was put into shared memory.

    Attributes:
        blocks: The memory, uint8; one for each pickle that had something new.
        places: Of each object, by its id; the object is held with it, so that no other gets the id.
    """

    blocks: list[Tensor] = field(default_factory=list)
    places: dict[int, tuple[Any, Place]] = field(default_factory=dict)


class SharedArrays(Dataset[Batch]):
    """A data set whose arrays are shared, not copied, when a process is spawned with it.

    Args:
        batches: The data set.
    """

    def __init__(self, batches: Dataset[Batch]) -> None:
        self.batches = batches
        self._shared = _Shared()

    def __getitem__(self, key: Any) -> Batch:
        return self.batches[key]

    @property
    def from_script(self) -> bool:
        """Whether a spawned process has to import the main script: it defines a class in here."""
        return b"__main__" in self.__reduce__()[1][0]

    def __reduce__(self) -> tuple[Any, ...]:
        stream = io.BytesIO()
        pickler = _Pickler(stream, self._shared)
        pickler.dump(self.batches)
        pickler.fill()
        return _restored, (stream.getvalue(), list(self._shared.blocks))


class _Pickler(pickle.Pickler):
    """Leaves large arrays and tensors out; `fill` then puts them into shared memory."""

    def __init__(self, stream: io.BytesIO, shared: _Shared) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._shared = shared
        self._new: list[int] = []
        self._size = 0

    def persistent_id(self, thing: Any) -> Place | None:
        dtype: str | torch.dtype
        if isinstance(thing, np.ndarray) and thing.dtype.kind in "biufS":
            dtype, strides = thing.dtype.str, None
        elif isinstance(thing, Tensor) and _is_plain(thing):
            # Dense, and in the order of the tensor: what a clone has.
            dtype, strides = thing.dtype, torch.empty_like(thing, device="meta").stride()
        else:
            return None
        if thing.nbytes < SHARED_FROM_BYTES:
            return None
        if id(thing) not in self._shared.places:
            start = -(-self._size // _ALIGNED) * _ALIGNED
            self._size = start + thing.nbytes
            place = len(self._shared.blocks), start, dtype, tuple(thing.shape), strides
            self._shared.places[id(thing)] = thing, place
            self._new.append(id(thing))
        return self._shared.places[id(thing)][1]

    def fill(self) -> None:
        """Copies what no earlier pickle had into one new block."""
        if not self._new:
            return
        storage = torch.UntypedStorage._new_shared(self._size)
        block = torch.empty(0, dtype=torch.uint8).set_(storage)
        self._shared.blocks.append(block)
        for key in self._new:
            thing, place = self._shared.places[key]
            if isinstance(thing, Tensor):
                _tensor(block, place).copy_(thing.detach())
            else:
                _array(block, place)[...] = thing


class _Unpickler(pickle.Unpickler):
    """Puts the shared arrays back in their places, read-only."""

    def __init__(self, stream: io.BytesIO, blocks: list[Tensor]) -> None:
        super().__init__(stream)
        self._blocks = blocks
        self._found: dict[tuple[int, int], Any] = {}

    def persistent_load(self, wanted: Place) -> Any:
        key = wanted[:2]
        if key not in self._found:
            block = self._blocks[wanted[0]]
            if wanted[4] is not None:
                self._found[key] = _tensor(block, wanted)
            else:
                self._found[key] = _array(block, wanted)
                self._found[key].flags.writeable = False
        return self._found[key]


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is numbers in this process's memory and nothing else."""
    return (
        tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    )


def _tensor(block: Tensor, place: Place) -> Tensor:
    _, start, dtype, shape, strides = place
    assert isinstance(dtype, torch.dtype)
    assert strides is not None
    bytes_ = block[start : start + math.prod(shape) * dtype.itemsize]
    return bytes_.view(dtype).as_strided(shape, strides)


def _array(block: Tensor, place: Place) -> np.ndarray:
    _, start, dtype, shape, _ = place
    assert isinstance(dtype, str)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return block.numpy()[start : start + size].view(dtype).reshape(shape)


def _restored(pickled: bytes, blocks: list[Tensor]) -> SharedArrays:
    """In the spawned process."""
    return SharedArrays(_Unpickler(io.BytesIO(pickled), blocks).load())


def start_method(source: object) -> str | None:
    """How loader processes of a source start: "fork", "spawn" or None, the system's way.

    Forked processes start at once and share everything. A source whose library keeps threads (its
    ``forkable`` is False) must not be forked: a lock that such a thread holds stays shut for ever.

    Args:
        source: The images.
    """
    inner: Any = source
    while inner is not None:
        if not getattr(inner, "forkable", True):
            return "spawn"
        inner = getattr(inner, "source", None)
    return "fork" if sys.platform == "linux" else None
