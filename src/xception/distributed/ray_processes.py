"""The processes of asynchronous training on Ray: each holds one object and passes calls on to it.

No rule of training stands here: a server process drives a `ParameterShard`, a worker process a
`GradientWorker`, and what is to be done is said by `xception.distributed.asynchronous` in the
driver. Gradients and parameters go between workers and servers; the driver sees reports, and the
servers' states when it takes a snapshot.
"""

import copy
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from xception.data.batches import TrainingBatches
from xception.distributed import ray_tensors
from xception.distributed.gradient_worker import GradientWorker, Report
from xception.distributed.layout import Layout, Values
from xception.distributed.ledger import Lease
from xception.distributed.ray_calls import gone
from xception.distributed.shard import ParameterShard, Pulled, Push, Verdict
from xception.training.classifier import Classifier
from xception.training.memory import keep_freed_memory

Build = Callable[[], tuple[Classifier, TrainingBatches]]
Servers = Sequence[Any]  # Ray's handles
PUSH_ATTEMPTS = 3


@dataclass(frozen=True)
class Unreachable:
    """Servers that gave no answer: the worker's batch has come to nothing.

    Attributes:
        indices: Which.
    """

    indices: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where a process runs.

    Attributes:
        node: The machine's address.
        pid: Of the process there.
    """

    node: str
    pid: int


class _Process:
    """What both kinds of processes have."""

    def __init__(self) -> None:
        import ray

        self._ray = ray
        ray_tensors.register(ray)

    def place(self) -> Place:
        """Where this process runs."""
        return Place(self._ray.util.get_node_ip_address(), os.getpid())

    def watch(self) -> None:
        """Never ends: whoever waits for it learns of this process's death."""
        threading.Event().wait()


class ServerProcess(_Process):
    """One parameter server.

    Args:
        arguments: Of `ParameterShard`.
        keep_memory: Whether memory that it frees stays with it: a copy for a pull is as large as
            the slice, and the system would have to clear it page by page for the next one.
    """

    def __init__(self, arguments: dict[str, Any], keep_memory: bool) -> None:
        super().__init__()
        if keep_memory:
            keep_freed_memory()
        self.shard = ParameterShard(**arguments)

    def pull(self) -> Pulled:
        """See `ParameterShard.pull`."""
        return self.shard.pull()

    def push(self, push: Push) -> Verdict:
        """See `ParameterShard.push`."""
        return self.shard.push(push)

    def average(self) -> Values:
        """See `ParameterShard.average`."""
        return self.shard.average()

    def snapshot(self) -> dict[str, Any]:
        """See `ParameterShard.snapshot`."""
        return self.shard.snapshot()

    def restore(self, state: dict[str, Any], generation: int) -> None:
        """See `ParameterShard.restore`."""
        self.shard.restore(copy.deepcopy(state), generation)  # what arrived can't be written to


class WorkerProcess(_Process):
    """One worker: pulls from the servers, computes, pushes to them."""

    _worker: GradientWorker
    _ticket = -1
    _pushes: Sequence[Push] = ()
    _servers: Servers = ()

    def prepare(self, build: Build, shards: int, precision: str) -> Place:
        """Builds the network and opens the data.

        Args:
            build: The classifier, and the training batches by their place in the order.
            shards: Number of servers.
            precision: In which gradients travel.

        Raises:
            InputError: What the user's recipe names is not there on this machine.
        """
        classifier, batches = build()
        if torch.cuda.is_available() and self._ray.get_gpu_ids():
            classifier.to("cuda")
        layout = Layout(classifier.model, classifier.groups, shards)  # of the tensors there
        self._worker = GradientWorker(classifier, batches, layout, precision)
        return self.place()

    def compute(self, lease: Lease, servers: Servers) -> Report | Unreachable:
        """Pulls, and computes the gradient of a batch, which stays here."""
        batch = self._worker.load(lease)  # first: while it decodes, no parameters grow old
        pulled, lost = self._ask([(server.pull, ()) for server in servers], 1)
        if lost:
            return Unreachable(lost)
        report, self._pushes = self._worker.compute(lease, pulled, batch)
        self._ticket, self._servers = lease.ticket, servers
        return report

    def push(self, lease: Lease) -> list[Verdict] | Unreachable:
        """Sends the gradient of a batch to every server; again where one does not answer."""
        assert lease.ticket == self._ticket, "a worker holds the gradient of its last batch"
        calls = [(s.push, (p,)) for s, p in zip(self._servers, self._pushes, strict=True)]
        verdicts, lost = self._ask(calls, PUSH_ATTEMPTS)
        return Unreachable(lost) if lost else verdicts

    def _ask(
        self, calls: Sequence[tuple[Any, tuple[Any, ...]]], attempts: int
    ) -> tuple[list[Any], tuple[int, ...]]:
        """Calls every server at once: the answers, and who gave none."""
        answers: dict[int, Any] = {}
        for attempt in range(attempts):
            time.sleep(attempt)
            refs = {i: m.remote(*given) for i, (m, given) in enumerate(calls) if i not in answers}
            is_dead = False
            for index, ref in refs.items():
                try:
                    answers[index] = self._ray.get(ref)
                except self._ray.exceptions.ActorUnavailableError:
                    pass  # it may have the gradient already, and knows a push by its batch
                except gone(self._ray):
                    is_dead = True
            if is_dead or len(answers) == len(calls):
                break
        lost = tuple(i for i in range(len(calls)) if i not in answers)
        return [answers[i] for i in sorted(answers)], lost
