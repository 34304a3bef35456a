"""Asynchronous training (section 4.3, JFT): one loop over the events of a cluster.

The cluster is a simulated one (`xception.distributed.simulator`) or one of Ray's processes
(`xception.distributed.ray_cluster`); it starts work and tells what has happened. Leases, admission,
rows, evaluation, snapshots and what follows a loss are decided here, the same for both.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from typing import Any

import torch
from lightning.pytorch.utilities import move_data_to_device

from xception.data.batches import TrainingBatches
from xception.data.module import ImageData
from xception.distributed.admission import Coordinator, Decision
from xception.distributed.cluster import (
    Cluster,
    Computed,
    Pushed,
    ServersLost,
    WorkerLost,
    WorkerReady,
)
from xception.distributed.layout import Layout, Values
from xception.distributed.ledger import LeaseLedger
from xception.distributed.record import Record, Unreadable, read_snapshot, write_snapshot
from xception.distributed.settings import AsynchronousKeys
from xception.distributed.shard import ParameterShard
from xception.errors import count_of
from xception.training.checkpoints import newest_checkpoint
from xception.training.fit import Run, description
from xception.training.interruption import RunInterrupted

log = logging.getLogger(__name__)


class AsynchronousRun:
    """A run's decisions and its records.

    Args:
        run: What is trained, on what, and where the results go.
        keys: ``asynchronous.*``.
        log_every_steps: Updates between two rows of ``metrics.csv``.
        is_evaluated: Whether the averaged weights are evaluated after so many updates.
    """

    def __init__(
        self,
        run: Run,
        keys: AsynchronousKeys,
        *,
        log_every_steps: int,
        is_evaluated: Callable[[int], bool],
    ) -> None:
        keys.check()
        self.run, self.keys = run, keys
        self.is_evaluated = is_evaluated
        self.layout = Layout(run.classifier.model, run.classifier.groups, keys.shards)
        self._initial = self.layout.cut_values(self.layout.read())
        batch, per_epoch = run.data.batch_size, run.data.steps_per_epoch
        self.coordinator = Coordinator(
            LeaseLedger(steps=run.total_steps, steps_per_epoch=per_epoch, batch_size=batch),
            max_staleness=keys.max_staleness,
            when_stale=keys.when_stale,
        )
        self.record = Record(
            run.directory.metrics,
            log_every_steps,
            learning_rate=run.classifier.current_learning_rate,
            batch_size=batch,
            steps_per_epoch=per_epoch,
        )
        self.unreadable = Unreadable(run.data.max_unreadable)
        self.generation = 0
        self.interrupted_by = 0
        self._losses: dict[int, float] = {}  # of the gradients on their way, by ticket
        self.saved_step = -1
        """Updates in the newest snapshot."""
        self._evaluated_at: int | None = None  # an evaluation that is due or on its way
        self._evaluation: Future[dict[str, float]] | None = None

    def server_arguments(self, index: int) -> dict[str, Any]:
        """What `ParameterShard` is made with; it can be sent to another process."""
        return {
            "plan": self.layout.plans()[index],
            "values": self._initial[index].clone(),
            "build_optimizer": self.run.classifier.build_optimizer,
            "learning_rate": self.run.classifier.current_learning_rate,
            "polyak_decay": self.run.polyak_decay,
            "staleness_aware": self.keys.staleness_aware,
        }

    def servers(self) -> list[ParameterShard]:
        """All servers, in this process."""
        return [ParameterShard(**self.server_arguments(i)) for i in range(self.keys.shards)]

    def begin(self, cluster: Cluster, *, resume: bool) -> None:
        """Puts the servers where the run stands: at the newest snapshot, or at a first one.

        Args:
            cluster: With servers as `server_arguments` makes them.
            resume: Whether there is a snapshot.
        """
        if resume:
            self.restore(cluster)
        else:
            self.record.begin()
            self.save(cluster)

    def describe(self) -> dict[str, Any]:
        """What ``summary.json`` tells of it."""
        coordinator = self.coordinator
        total = sum(coordinator.staleness.values())
        weighted = sum(staleness * n for staleness, n in coordinator.staleness.items())
        return {
            **{name: getattr(self.keys, name) for name in ("engine", "workers", "shards")},
            "mean_staleness": round(weighted / max(total, 1), 4),
            "staleness": {str(k): n for k, n in sorted(coordinator.staleness.items())},
            "counts": {name: n for name, n in sorted(coordinator.counts.items()) if n},
        }

    def interrupt(self, cause: int) -> None:
        """Asks for a snapshot and an end, as soon as pushes on their way have arrived."""
        self.interrupted_by = cause

    def drive(self, cluster: Cluster, workers: Iterable[int], executor: Executor) -> Values:
        """Trains to the end.

        Args:
            cluster: The workers and servers, which stand where this run stands.
            workers: Those that are ready; others tell it by an event.
            executor: Where evaluations run.

        Returns:
            The averaged state.

        Raises:
            RunInterrupted: `interrupt` was called; the state is saved.
            RunFailedError: The gradients are not finite.
        """
        idle, waiting = sorted(workers), dict[int, Computed]()
        coordinator = self.coordinator
        self._begin_evaluation(cluster, executor)
        while True:
            self._hold()
            if coordinator.is_still and coordinator.completed == coordinator.hold_at:
                self._stop_here(cluster, executor)
                if coordinator.ledger.is_finished:
                    self._finish_evaluation()
                    return self.layout.join(cluster.averages())
                self._hold()
            for worker, computed in sorted(waiting.items()):
                decision = self._ask(cluster, computed)
                if decision is not Decision.WAIT:
                    del waiting[worker]
                    if decision is not Decision.PUSH:
                        idle.append(worker)
            for worker in list(idle):
                lease = coordinator.lease(worker)
                if lease is None:
                    break
                idle.remove(worker)
                cluster.compute(worker, lease)
            event = cluster.next_event()
            if self._evaluation is not None and self._evaluation.done():
                self._finish_evaluation()
            if isinstance(event, Computed):
                decision = self._ask(cluster, event)
                if decision is Decision.WAIT:
                    waiting[event.worker] = event
                elif decision is not Decision.PUSH:
                    idle.append(event.worker)
            elif isinstance(event, Pushed):
                self._complete(event)
                idle.append(event.worker)
            elif isinstance(event, WorkerReady):
                coordinator.lose(event.worker)
                idle.append(event.worker)
            elif isinstance(event, WorkerLost):
                self._lose(event, idle, waiting)
            elif isinstance(event, ServersLost):
                self._go_back(event, cluster, executor)
                idle += sorted(waiting)
                waiting.clear()

    def _hold(self) -> None:
        """The next update at which all servers must stand still."""
        done, last = self.coordinator.completed, self.coordinator.ledger.steps
        if self.interrupted_by:
            self.coordinator.hold_at = self.coordinator.admitted
        elif self.coordinator.hold_at is None:
            following = range(done + 1, last)
            self.coordinator.hold_at = next(filter(self._is_stop, following), last)

    def _is_stop(self, step: int) -> bool:
        every = self.run.checkpoint_every_steps
        saved = step % every == 0 if every else step % self.record.steps_per_epoch == 0
        return saved or self.is_evaluated(step)

    def _stop_here(self, cluster: Cluster, executor: Executor) -> None:
        """All servers stand at one version: evaluation, snapshot, perhaps the end."""
        step = self.coordinator.completed
        self._finish_evaluation()
        is_new = step != self.saved_step
        if is_new:
            self._evaluated_at = step if self.is_evaluated(step) else None
            self.save(cluster)
        self.coordinator.hold_at = None
        if self.interrupted_by and not self.coordinator.ledger.is_finished:
            raise RunInterrupted(self.interrupted_by, step)
        if is_new:
            self._begin_evaluation(cluster, executor)

    def _ask(self, cluster: Cluster, computed: Computed) -> Decision:
        report = computed.report
        self.unreadable.add(report.skipped, is_empty=report.unreadable)
        decision = self.coordinator.admit(computed.lease, report.version, finite=report.finite)
        if decision is Decision.PUSH:
            self._losses[computed.lease.ticket] = report.loss
            cluster.push(computed.worker, computed.lease)
        return decision

    def _complete(self, event: Pushed) -> None:
        loss = self._losses.pop(event.lease.ticket, 0.0)
        if self.coordinator.report(event.lease, event.verdicts):
            self.record.add_loss(loss, self.coordinator.completed)

    def _lose(self, event: WorkerLost, idle: list[int], waiting: dict[int, Computed]) -> None:
        lost = self.coordinator.lose(event.worker)
        waiting.pop(event.worker, None)
        if event.worker in idle:
            idle.remove(event.worker)
        self.coordinator.counts["lost workers"] += 1
        print(
            f"step {self.coordinator.completed}: worker {event.worker} died ({event.reason}); "
            f"{count_of(len(lost), 'lease')} handed out again",
            flush=True,
        )

    def save(self, cluster: Cluster) -> None:
        """Writes a snapshot; all servers stand at one version."""
        shards = cluster.snapshots()
        assert {shard["version"] for shard in shards} == {self.coordinator.completed}
        write_snapshot(
            self.run.directory.checkpoints,
            {
                "xception": description(self.run),
                "step": self.coordinator.completed,
                "shards": shards,
                "coordinator": self.coordinator.snapshot(),
                "record": self.record.snapshot(),
                "evaluated_at": self._evaluated_at,
                "unreadable": dict(self.unreadable.found),
            },
        )
        self.saved_step = self.coordinator.completed

    def restore(self, cluster: Cluster) -> int:
        """Goes back to the newest snapshot; returns its number of updates."""
        path = newest_checkpoint(self.run.directory.checkpoints)
        assert path is not None, "a run begins with a snapshot"
        state = read_snapshot(path)
        self.generation += 1
        cluster.restore(state["shards"], self.generation)
        self.coordinator.restore(state["coordinator"])
        self.coordinator.hold_at = None
        self._losses.clear()
        self.record.restore(state["record"], state["step"])
        self._evaluated_at = state["evaluated_at"]
        self.unreadable.found = dict(state["unreadable"])
        self.saved_step = int(state["step"])
        return int(state["step"])

    def _go_back(self, event: ServersLost, cluster: Cluster, executor: Executor) -> None:
        """A server died: all of them go back to the last snapshot."""
        before, lost_servers = self.coordinator.completed, self.coordinator.counts["lost servers"]
        lost_updates = self.coordinator.counts["updates lost with servers"]
        self._discard_evaluation()
        step = self.restore(cluster)
        counts = self.coordinator.counts
        counts["lost servers"] = lost_servers + len(event.indices)
        counts["updates lost with servers"] = lost_updates + before - step
        names = ", ".join(map(str, event.indices))
        print(
            f"step {before}: server {names} died; all servers are back at the snapshot of step "
            f"{step}: {count_of(before - step, 'update')} lost, and computed again",
            flush=True,
        )
        self._begin_evaluation(cluster, executor)

    def _begin_evaluation(self, cluster: Cluster, executor: Executor) -> None:
        if self._evaluated_at is not None:
            average = self.layout.join(cluster.averages())
            self._evaluation = executor.submit(self._evaluate, average)

    def _finish_evaluation(self) -> None:
        if self._evaluation is None or self._evaluated_at is None:
            return
        figures, step = self._evaluation.result(), self._evaluated_at
        self._evaluation = self._evaluated_at = None
        self.record.add_row(step, figures)
        told = ", ".join(f"{name} {figure:.4f}" for name, figure in figures.items())
        print(f"step {step}: {told}", flush=True)

    def _discard_evaluation(self) -> None:
        if self._evaluation is not None:
            self._evaluation.result()
        self._evaluation = self._evaluated_at = None

    @torch.no_grad()
    def _evaluate(self, average: Values) -> dict[str, float]:
        """The figures of the held-out images."""
        classifier = self.run.classifier
        self.layout.write(average)
        classifier.eval()
        classifier.validation.reset()
        for batch in self.run.data.val_dataloader():
            moved = move_data_to_device(batch, classifier.device)
            classifier.validation.update(classifier(moved.images), moved)
        return {name: float(value) for name, value in classifier.validation.figures().items()}


def training_batches(data: ImageData) -> TrainingBatches:
    """The training batches of a run, by their place in the order."""
    return TrainingBatches(
        data.train_source,
        data.transform,
        seed=data.seed,
        attempts=max(1, data.max_unreadable + 1),
        decoding=data.decoding,
    )
