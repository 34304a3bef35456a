"""How tensors travel between Ray's processes: as arrays in shared memory, without a copy of a copy.

By itself Ray pickles a tensor with all of the memory that it is a view of, byte by byte: five to
ten times slower, and every slice of a gradient would carry the whole gradient. What arrives is
memory that nobody may write to: clone before an operation in place.
"""

import warnings
from typing import Any

import torch
from torch import Tensor

_SAME_WIDTH = {torch.bfloat16: torch.int16}  # NumPy has no bfloat16
Packed = tuple[Any, torch.dtype]


def register(ray: Any) -> None:
    """Makes this process send tensors so; every process has to do it once."""
    ray.util.register_serializer(Tensor, serializer=pack, deserializer=unpack)


def deregister(ray: Any) -> None:
    """Ray's own way again."""
    ray.util.deregister_serializer(Tensor)


def pack(tensor: Tensor) -> Packed:
    """The elements as a NumPy array, and the type that they have."""
    whole = tensor.detach().cpu().contiguous()
    return whole.view(_SAME_WIDTH.get(whole.dtype, whole.dtype)).numpy(), whole.dtype


def unpack(packed: Packed) -> Tensor:
    """The tensor, in the array's memory."""
    array, dtype = packed
    if not array.size:  # no memory of its own: torch.save would take two such for one
        return torch.empty(array.shape, dtype=dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).view(dtype)
