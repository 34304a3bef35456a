"""Large arrays of a data set, one copy for all loader processes that are spawned.

A forked process shares its parent's memory. A spawned one gets a pickled copy of the data set, and
an index of millions of images would be copied to each. Here the arrays leave the pickle: they are
put into shared memory once, and every process maps them.
"""

import io
import pickle
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from xception.data.batches import Batch

SHARED_FROM_BYTES = 1 << 13
"""Arrays of this size and more are shared; smaller ones are cheaper to copy."""


class SharedArrays(Dataset[Batch]):
    """A data set whose arrays are shared, not copied, when a process is spawned with it.

    Args:
        batches: The data set.
    """

    def __init__(self, batches: Dataset[Batch]) -> None:
        self.batches = batches
        self._shared: dict[int, tuple[Any, Tensor]] = {}  # by id; the object is held with it

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
        return _restored, (stream.getvalue(), pickler.tensors)


class _Pickler(pickle.Pickler):
    """Leaves large arrays and tensors out, and collects them in shared memory."""

    def __init__(self, stream: io.BytesIO, shared: dict[int, tuple[Any, Tensor]]) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._shared = shared
        self._places: dict[int, int] = {}
        self.tensors: list[Tensor] = []

    def persistent_id(self, thing: Any) -> tuple[int, str | None, tuple[int, ...]] | None:
        if isinstance(thing, np.ndarray) and thing.dtype.kind in "biufS":
            dtype, size = thing.dtype.str, thing.nbytes
        elif isinstance(thing, Tensor) and thing.layout == torch.strided and not thing.is_cuda:
            dtype, size = None, thing.nbytes
        else:
            return None
        if size < SHARED_FROM_BYTES:
            return None
        if id(thing) not in self._shared:
            self._shared[id(thing)] = thing, _in_shared_memory(thing)
        if id(thing) not in self._places:
            self._places[id(thing)] = len(self.tensors)
            self.tensors.append(self._shared[id(thing)][1])
        return self._places[id(thing)], dtype, tuple(thing.shape)


class _Unpickler(pickle.Unpickler):
    """Puts the shared arrays back in their places, read-only."""

    def __init__(self, stream: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(stream)
        self._tensors = tensors
        self._found: dict[int, Any] = {}

    def persistent_load(self, wanted: tuple[int, str | None, tuple[int, ...]]) -> Any:
        place, dtype, shape = wanted
        if place not in self._found:
            tensor = self._tensors[place]
            if dtype is None:
                self._found[place] = tensor
            else:
                array = tensor.numpy().view(dtype).reshape(shape)
                array.flags.writeable = False
                self._found[place] = array
        return self._found[place]


def _in_shared_memory(thing: np.ndarray | Tensor) -> Tensor:
    """A copy: of an array as bytes, of a tensor as it is."""
    if isinstance(thing, Tensor):
        return thing.detach().clone().share_memory_()
    shared = torch.empty(thing.nbytes, dtype=torch.uint8).share_memory_()
    shared.numpy()[:] = np.ascontiguousarray(thing).reshape(-1).view(np.uint8)
    return shared


def _restored(pickled: bytes, tensors: list[Tensor]) -> SharedArrays:
    """In the spawned process."""
    return SharedArrays(_Unpickler(io.BytesIO(pickled), tensors).load())


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
