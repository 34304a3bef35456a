"""A network's state as three flat vectors, cut into the slices of several parameter servers.

The parameters that are trained, BatchNorm's moving statistics and its counters each become one
vector, in the order of the network's modules. Server s of S holds the elements from N·s/S up to
N·(s+1)/S of each, so that one large dense layer does not make one server larger than the others.
That is exact: the optimizers, the Polyak average and the moving averages work on each element by
itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xception.errors import InputError

Groups = list[dict[str, Any]]


class Values(NamedTuple):
    """The state of a network, or a server's slice of it.

    Attributes:
        parameters: (P,) float32: what the optimizer trains.
        statistics: (M,) float32: BatchNorm's moving means and variances.
        counters: (K,) int64: BatchNorm's numbers of batches.
    """

    parameters: Tensor
    statistics: Tensor
    counters: Tensor

    def clone(self) -> "Values":
        """A copy that shares no memory."""
        return Values(*(tensor.detach().clone() for tensor in self))


@dataclass(frozen=True)
class ShardPlan:
    """What one server has to know of its slice.

    Attributes:
        index: Which server, from 0.
        runs: Neighbouring parameters of one group: how many elements, and the group's number.
        options: The groups' options (weight decay, ``lr_scale``), by number.
        keep: (M,) float32: 1 - momentum of each moving statistic.
        counters: How many counters.
    """

    index: int
    runs: tuple[tuple[int, int], ...]
    options: tuple[dict[str, Any], ...]
    keep: Tensor
    counters: int

    @property
    def size(self) -> int:
        """Parameters in the slice."""
        return sum(length for length, _ in self.runs)


class Layout:
    """Where each tensor of a network lies in the vectors.

    Args:
        model: The network; its tensors may be replaced in place, never by other objects.
        groups: The optimizer's parameter groups; parameters in none stay as they are.
        shards: Number of servers S.

    Raises:
        InputError: There are fewer trained parameters than servers.
        ValueError: A BatchNorm keeps a plain mean of all batches (``momentum=None``).
    """

    def __init__(self, model: nn.Module, groups: Groups, shards: int = 1) -> None:
        numbers = {id(p): i for i, group in enumerate(groups) for p in group["params"]}
        self.parameters = [p for p in model.parameters() if id(p) in numbers]
        self._numbers = [numbers[id(p)] for p in self.parameters]
        self._options = tuple({k: v for k, v in g.items() if k != "params"} for g in groups)
        self.statistics: list[Tensor] = []
        self.counters: list[Tensor] = []
        keep = []
        for module in model.modules():
            if not isinstance(module, _BatchNorm) or module.running_mean is None:
                continue
            if module.momentum is None:
                raise ValueError("asynchronous training needs a BatchNorm with a momentum")
            assert module.running_var is not None
            assert module.num_batches_tracked is not None
            for tensor in (module.running_mean, module.running_var):
                self.statistics.append(tensor)
                keep.append(torch.full((tensor.numel(),), 1 - module.momentum))
            self.counters.append(module.num_batches_tracked)
        self._keep = torch.cat(keep) if keep else torch.zeros(0)
        self.size = sum(p.numel() for p in self.parameters)
        self.shards = shards
        if not 1 <= shards <= self.size:
            raise InputError(
                f"asynchronous.shards is {shards}; it must be at least 1 and at most the number "
                f"of trained parameters, {self.size:,}"
            )

    def tensors(self, model: nn.Module) -> dict[str, Any]:
        """The names and shapes of what each vector holds, and what is on no server, as primitives.

        Args:
            model: The network that the layout is of.
        """
        held: tuple[Sequence[Tensor], ...] = (self.parameters, self.statistics, self.counters)
        named = {id(t): name for name, t in (*model.named_parameters(), *model.named_buffers())}
        told: dict[str, Any] = {
            field: [(named[id(tensor)], tuple(tensor.shape)) for tensor in tensors]
            for field, tensors in zip(Values._fields, held, strict=True)
        }
        on_servers = {name for field in Values._fields for name, _ in told[field]}
        told["constant"] = {
            name: tensor.detach().cpu().clone()
            for name, tensor in model.state_dict().items()
            if name not in on_servers
        }
        return told

    def read(self) -> Values:
        """The network's state now, a copy on the CPU."""
        return Values(
            flat(self.parameters), flat(self.statistics), flat(self.counters, torch.int64)
        )

    @torch.no_grad()
    def write(self, values: Values) -> None:
        """Puts a state into the network."""
        held: tuple[Sequence[Tensor], ...] = (self.parameters, self.statistics, self.counters)
        for tensors, vector in zip(held, values, strict=True):
            parts = vector.split([tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def gradient(self) -> Tensor:
        """(P,) float32: the network's gradients now; zero where the loss does not depend on it."""
        return flat([torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters])

    def cut(self, vector: Tensor) -> list[Tensor]:
        """A vector's slices, one for each server: views."""
        edges = [len(vector) * s // self.shards for s in range(self.shards + 1)]
        return [vector[a:b] for a, b in pairwise(edges)]

    def cut_values(self, values: Values) -> list[Values]:
        """A state's slices, one for each server: views."""
        return [Values(*parts) for parts in zip(*map(self.cut, values), strict=True)]

    @staticmethod
    def join(slices: Sequence[Values]) -> Values:
        """The state from its slices."""
        return Values(*(torch.cat(parts) for parts in zip(*slices, strict=True)))

    def plans(self) -> list[ShardPlan]:
        """What each server has to know."""
        edges = [self.size * s // self.shards for s in range(self.shards + 1)]
        keeps, counters = self.cut(self._keep), self.cut(torch.zeros(len(self.counters)))
        plans = []
        for index, (start, stop) in enumerate(pairwise(edges)):
            runs: list[tuple[int, int]] = []
            offset = 0
            for parameter, group in zip(self.parameters, self._numbers, strict=True):
                first, last = max(start, offset), min(stop, offset + parameter.numel())
                offset += parameter.numel()
                if first >= last:
                    continue
                if runs and runs[-1][1] == group:
                    runs[-1] = (runs[-1][0] + last - first, group)
                else:
                    runs.append((last - first, group))
            plans.append(
                ShardPlan(
                    index, tuple(runs), self._options, keeps[index].clone(), len(counters[index])
                )
            )
        return plans


def flat(tensors: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
    """Tensors as one vector on the CPU, a copy, each in the order of its indices."""
    parts = [tensor.detach().reshape(-1).to("cpu", dtype) for tensor in tensors]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=dtype)
