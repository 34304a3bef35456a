"""A network's tensors from a snapshot of asynchronous training, where they lie cut over servers."""

from typing import Any

import torch
from torch import Tensor

VECTORS = ("parameters", "statistics", "counters")


def is_sliced(content: dict[str, Any]) -> bool:
    """Whether a checkpoint is such a snapshot."""
    return "shards" in content and "tensors" in content


def has_average(content: dict[str, Any]) -> bool:
    """Whether the servers keep a Polyak average."""
    return all(shard["polyak"] is not None for shard in content["shards"])


def joined(content: dict[str, Any], *, averaged: bool) -> dict[str, Tensor]:
    """The state dict of the network.

    Args:
        content: The snapshot: ``shards``, each server's slices of three vectors, and ``tensors``,
            the names and shapes of what lies in each vector one after the other, and what lies on
            no server.
        averaged: Whether the Polyak average is taken, or the last values.
    """
    slices = [
        shard["polyak"]["state_dict"] if averaged else shard["values"]
        for shard in content["shards"]
    ]
    told = content["tensors"]
    found: dict[str, Tensor] = dict(told["constant"])
    for vector in VECTORS:
        whole = torch.cat([part[vector] for part in slices])
        names, shapes = zip(*told[vector], strict=True) if told[vector] else ((), ())
        parts = whole.split([torch.Size(shape).numel() for shape in shapes])
        for name, shape, part in zip(names, shapes, parts, strict=True):
            found[name] = part.view(shape).clone()
    return found
