"""A parameter server: a slice of the network with its optimizer, schedule and Polyak average.

The paper trained on JFT with asynchronous gradient descent (section 4.3): a worker's gradient is
applied as it arrives, by the update rule of synchronous training. A server knows nothing of
networks, data or other processes; the simulator and the Ray actors both drive this class.

BatchNorm's moving statistics are no gradients. A worker sends them as it pulled them (before) and
as its batch has moved them (after = keep · before + momentum · batch, keep = 1 - momentum); the
server computes after + keep · (own - before) = keep · own + momentum · batch: the moving average of
ordinary training over the batches of all workers in the order of their arrival. So every worker
counts alike, a stale one too, and where nothing came between, own = before gives ``after`` itself.
"""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from xception.distributed.finite import is_finite
from xception.distributed.layout import ShardPlan, Values
from xception.distributed.numbers import NumberSet
from xception.training.optimizers import set_learning_rate
from xception.training.polyak import PolyakAverage

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""In which a gradient may travel."""


class Verdict(StrEnum):
    """What became of a push."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    NOT_FINITE = "not finite"
    WRONG_SHAPE = "wrong shape"
    """Or another type of numbers."""
    WRONG_VERSION = "wrong version"


@dataclass(frozen=True)
class Pulled:
    """A server's slice at one moment.

    Attributes:
        version: Updates that it has applied.
        generation: How often the servers were restored from a snapshot.
        values: Copies.
    """

    version: int
    generation: int
    values: Values


@dataclass(frozen=True)
class Push:
    """A worker's gradient for one server.

    Attributes:
        number: The batch, counted over the whole run: epoch · steps per epoch + batch of the epoch.
            With the server it is the push's identity: a second one is not applied.
        version: The server's version that the gradient was computed with.
        generation: The server's generation then.
        gradient: (P,) float32, bfloat16 or float16.
        before: (M,) float32: the moving statistics as pulled.
        after: (M,) float32: after the batch.
        counted: (K,) int64: what the batch added to each counter.
    """

    number: int
    version: int
    generation: int
    gradient: Tensor
    before: Tensor
    after: Tensor
    counted: Tensor


class ParameterShard:
    """One server.

    Args:
        plan: Its slice.
        values: What it begins with; copied.
        build_optimizer: Parameter groups to an optimizer: the recipe's. It must work on each
            element by itself, as those of `xception.training.optimizers` do.
        learning_rate: The rate of the n-th update, from 0: the schedule, by global samples.
        polyak_decay: Of the averaged weights; None: no averaging.
        staleness_aware: Whether an update of staleness τ > 1 gets the rate divided by τ (Zhang et
            al. 2016, "Staleness-aware async-SGD").

            Deviation: the paper does not say; off by default.
    """

    def __init__(
        self,
        plan: ShardPlan,
        values: Values,
        *,
        build_optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        learning_rate: Callable[[int], float],
        polyak_decay: float | None,
        staleness_aware: bool = False,
    ) -> None:
        assert len(values.parameters) == plan.size
        self.plan = plan
        self.values = values.clone()
        self.version = 0
        self.generation = 0
        self.staleness: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()
        self._seen = NumberSet()
        self._learning_rate = learning_rate
        self._staleness_aware = staleness_aware
        lengths = [length for length, _ in plan.runs]
        # Views of one vector: the optimizer's steps in place are steps of that vector.
        self._parts = [nn.Parameter(part) for part in self.values.parameters.split(lengths)]
        groups: list[dict[str, Any]] = [{**options, "params": []} for options in plan.options]
        for part, (_, group) in zip(self._parts, plan.runs, strict=True):
            groups[group]["params"].append(part)
        self._optimizer = build_optimizer([group for group in groups if group["params"]])
        self._polyak = None if polyak_decay is None else PolyakAverage(polyak_decay)
        if self._polyak is not None:
            self._polyak.start(self.values._asdict())

    def pull(self) -> Pulled:
        """The slice as it is now."""
        return Pulled(self.version, self.generation, self.values.clone())

    def average(self) -> Values:
        """The averaged slice; as it is now where nothing is averaged."""
        average = self.values if self._polyak is None else Values(**self._polyak.average)
        return average.clone()

    def push(self, push: Push) -> Verdict:
        """Applies a gradient, or says why not; what is refused is counted and changes nothing."""
        verdict = self._judge(push)
        if verdict is Verdict.APPLIED:
            self._apply(push)
        else:
            self.refused[verdict] += 1
        return verdict

    def _judge(self, push: Push) -> Verdict:
        if push.generation != self.generation or not 0 <= push.version <= self.version:
            return Verdict.WRONG_VERSION
        if push.number in self._seen:
            return Verdict.DUPLICATE
        moving = len(self.plan.keep)
        expected = (
            (push.gradient, self.plan.size, tuple(PRECISIONS.values())),
            (push.before, moving, (torch.float32,)),
            (push.after, moving, (torch.float32,)),
            (push.counted, self.plan.counters, (torch.int64,)),
        )
        if any(t.shape != (size,) or t.dtype not in types for t, size, types in expected):
            return Verdict.WRONG_SHAPE
        given = (push.gradient, push.before, push.after)
        if not all(map(is_finite, given)):
            return Verdict.NOT_FINITE
        return Verdict.APPLIED

    @torch.no_grad()
    def _apply(self, push: Push) -> None:
        staleness = self.version - push.version
        rate = self._learning_rate(self.version)
        if self._staleness_aware:
            rate /= max(1, staleness)
        set_learning_rate(self._optimizer, rate)
        parts = push.gradient.float().split([len(part) for part in self._parts])
        for part, gradient in zip(self._parts, parts, strict=True):
            part.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        drift = self.plan.keep * (self.values.statistics - push.before)
        self.values.statistics.copy_(push.after + drift)
        self.values.counters.add_(push.counted)
        self.version += 1
        self.staleness[staleness] += 1
        self._seen.add(push.number)
        if self._polyak is not None:
            self._polyak.update(self.values._asdict())

    def snapshot(self) -> dict[str, Any]:
        """All of its state, copied: tensors and primitives."""
        return copy.deepcopy(
            {
                "version": self.version,
                "values": self.values._asdict(),
                "optimizer": self._optimizer.state_dict(),
                "polyak": None if self._polyak is None else self._polyak.state_dict(),
                "seen": self._seen.snapshot(),
                "staleness": dict(self.staleness),
                "refused": {str(name): count for name, count in self.refused.items()},
            }
        )

    @torch.no_grad()
    def restore(self, state: dict[str, Any], generation: int = 0) -> None:
        """Takes a snapshot back; pushes of an earlier generation are refused from now on."""
        self.version, self.generation = int(state["version"]), generation
        for name, tensor in self.values._asdict().items():
            tensor.copy_(state["values"][name])
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        if self._polyak is not None:
            self._polyak.load_state_dict(state["polyak"])
        self._seen.restore(state["seen"])
        self.staleness = Counter(state["staleness"])
        self.refused = Counter(state["refused"])
