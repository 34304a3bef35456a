"""Snapshots of an asynchronous run: from where it goes on when a server or the driver has died.

A snapshot belongs to an exact number of updates: the coordinator holds further ones back until all
servers stand there. It holds the servers, the ledger with its leases, how many rows were written
before it, and, of a simulated cluster, what each worker was at.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xception.distributed.admission import Coordinator
from xception.distributed.averaged_evaluation import AveragedEvaluation
from xception.distributed.cluster import Cluster, TakesUpWork
from xception.distributed.layout import Layout
from xception.distributed.record import Record, Unreadable
from xception.errors import InputError, RunFailedError
from xception.training.checkpoints import (
    LAST,
    PREVIOUS,
    AtomicCheckpointIO,
    name_again,
    newest_checkpoint,
)
from xception.training.fit import Run, description
from xception.weights.containers import read_pickled

FORMAT = 1


class Snapshots:
    """Writes and reads the snapshots of a run.

    Args:
        run: What is trained, and where its checkpoints lie.
        layout: Of its model.
        coordinator: Leases and admissions.
        record: The rows.
        evaluation: Of the averaged weights.
        unreadable: The images that could not be read.

    Attributes:
        step: Updates in the newest snapshot; -1: there is none.
        generation: How often the servers were restored by this process.
    """

    def __init__(
        self,
        run: Run,
        layout: Layout,
        coordinator: Coordinator,
        record: Record,
        evaluation: AveragedEvaluation,
        unreadable: Unreadable,
    ) -> None:
        self._directory, self._description = run.directory.checkpoints, description(run)
        self._tensors = layout.tensors(run.classifier.model)
        self._coordinator, self._record = coordinator, record
        self._evaluation, self._unreadable = evaluation, unreadable
        self.step = -1
        self.generation = 0

    def save(self, cluster: Cluster, idle: Sequence[int]) -> None:
        """Writes one; all servers stand at one version.

        Args:
            cluster: The servers.
            idle: The workers that have nothing to do, in the order in which they get a batch.
        """
        shards, step = cluster.snapshots(), self._coordinator.completed
        assert {shard["version"] for shard in shards} == {step}
        work = None
        if isinstance(cluster, TakesUpWork):
            work = {"cluster": cluster.work(), "idle": list(idle)}
        write_snapshot(
            self._directory,
            {
                "xception": self._description,
                "step": step,
                "tensors": self._tensors,
                "shards": shards,
                "coordinator": self._coordinator.snapshot(),
                "record": self._record.snapshot(),
                "evaluated_at": self._evaluation.due_at,
                "unreadable": dict(self._unreadable.found),
                "work": work,
            },
        )
        self.step = step

    def restore(self, cluster: Cluster, *, keep_leases: bool) -> dict[str, Any] | None:
        """Goes back to the newest; returns what the workers were at.

        Args:
            cluster: The servers.
            keep_leases: Whether the workers go on where they were; if not, their batches wait.
        """
        path = newest_checkpoint(self._directory)
        assert path is not None, "a run begins with a snapshot"
        state = read_snapshot(path)
        self.generation += 1
        cluster.restore(state["shards"], self.generation)
        self._coordinator.restore(state["coordinator"], keep_leases=keep_leases)
        self._record.restore(state["record"], state["step"])
        self._evaluation.due_at = state["evaluated_at"]
        self._unreadable.found = dict(state["unreadable"])
        self.step = int(state["step"])
        work: dict[str, Any] | None = state["work"]
        return work


def write_snapshot(directory: Path, state: dict[str, Any]) -> None:
    """Writes ``last.ckpt``, whole or not at all; the one before it becomes ``previous.ckpt``."""
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / LAST).exists():
        name_again(directory / LAST, directory / PREVIOUS)
    try:
        AtomicCheckpointIO().save_checkpoint({"asynchronous": FORMAT, **state}, directory / LAST)
    except (OSError, RuntimeError) as error:
        raise RunFailedError(f"{directory / LAST} can't be written: {error}") from None


def read_snapshot(path: Path) -> dict[str, Any]:
    """Reads one back.

    Raises:
        InputError: It is a checkpoint of something else.
    """
    state = read_pickled(path)
    if state.get("asynchronous") != FORMAT:
        raise InputError(
            f"{path} is no snapshot of an asynchronous run; start another with --output"
        )
    return state
