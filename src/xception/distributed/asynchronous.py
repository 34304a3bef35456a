"""Asynchronous training (section 4.3, JFT): one loop over the events of a cluster.

The cluster is a simulated one (`xception.distributed.simulator`) or one of Ray's processes
(`xception.distributed.ray_cluster`); it starts work and tells what has happened. Leases, admission,
rows, evaluation, snapshots and what follows a loss are decided here, the same for both.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from lightning.pytorch.loggers import Logger

from xception.distributed.admission import Coordinator, Decision
from xception.distributed.averaged_evaluation import AveragedEvaluation
from xception.distributed.cluster import (
    Cluster,
    Computed,
    Pushed,
    ServersDied,
    ServersLost,
    TakesUpWork,
    WorkerLost,
    WorkerReady,
)
from xception.distributed.layout import Layout, Values
from xception.distributed.ledger import LeaseLedger
from xception.distributed.record import Record, Unreadable
from xception.distributed.settings import AsynchronousKeys
from xception.distributed.shard import ParameterShard
from xception.distributed.snapshots import Snapshots
from xception.errors import count_of
from xception.training.fit import Run
from xception.training.interruption import RunInterrupted


class AsynchronousRun:
    """A run's decisions and its records.

    Args:
        run: What is trained, on what, and where the results go.
        keys: ``asynchronous.*``.
        log_every_steps: Updates between two rows of ``metrics.csv``.
        is_evaluated: Whether the averaged weights are evaluated after so many updates.
        loggers: They get the rows of ``metrics.csv`` too.
        keep_memory: Whether memory that a server's process frees stays with it.
    """

    def __init__(
        self,
        run: Run,
        keys: AsynchronousKeys,
        *,
        log_every_steps: int,
        is_evaluated: Callable[[int], bool],
        loggers: Sequence[Logger] = (),
        keep_memory: bool = True,
    ) -> None:
        keys.check()
        self.run, self.keys, self.keep_memory = run, keys, keep_memory
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
            loggers=loggers,
        )
        self.evaluation = AveragedEvaluation(run, self.layout, self.record)
        self.unreadable = Unreadable(run.data.max_unreadable)
        parts = (self.coordinator, self.record, self.evaluation, self.unreadable)
        self.snapshots = Snapshots(run, self.layout, *parts)
        self.interrupted_by = 0
        self._losses: dict[int, float] = {}  # of the gradients on their way, by ticket
        self._idle: list[int] = []
        self._waiting: dict[int, Computed] = {}  # workers whose gradient may not be pushed yet
        self._busy: set[int] = set()  # after a resume: workers that go on where they were

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
        if not resume:
            self.record.begin()
            while self.snapshots.step < 0:
                with suppress(ServersDied):  # those that replace them stand at the beginning too
                    self.snapshots.save(cluster, self._idle)
            return
        takes_up = isinstance(cluster, TakesUpWork)
        work = self.snapshots.restore(cluster, keep_leases=takes_up)
        if isinstance(cluster, TakesUpWork) and work is not None:
            self._idle = list(work["idle"])
            for worker, computed in cluster.take_up(work["cluster"]).items():
                if computed is None:
                    self._busy.add(worker)
                elif self.coordinator.ledger.holds(computed.lease):
                    self._waiting[worker] = computed

    def describe(self) -> dict[str, Any]:
        """What ``summary.json`` tells of it."""
        named = {name: getattr(self.keys, name) for name in ("engine", "workers", "shards")}
        return named | self.coordinator.describe()

    def interrupt(self, cause: int) -> None:
        """Asks for a snapshot and an end, as soon as pushes on their way have arrived."""
        self.interrupted_by = cause

    def drive(self, cluster: Cluster, workers: Iterable[int], executor: Executor) -> Values:
        """Trains to the end; returns the averaged state.

        Args:
            cluster: The workers and servers, which stand where this run stands.
            workers: Those that are ready; others tell it by an event.
            executor: Where evaluations run.

        Raises:
            RunInterrupted: `interrupt` was called; the state is saved.
            RunFailedError: The gradients are not finite.
        """
        for worker in sorted(set(workers) - self._busy - self._waiting.keys()):
            self._set_idle(worker)
        average = None
        while average is None:
            try:
                self.evaluation.begin(cluster.averages, executor)
                average = self._turn(cluster, executor)
            except ServersDied as died:
                self._go_back(ServersLost(died.indices, died.reason), cluster)
        return average

    def _turn(self, cluster: Cluster, executor: Executor) -> Values | None:
        """What is to be done, and the next event; the averaged state where that was all."""
        self._hold()
        if self._stands_still():
            self._stop_here(cluster, executor)
            if self.coordinator.ledger.is_finished:
                self.evaluation.finish()
                return self.layout.join(cluster.averages())
            self._hold()
        for worker, computed in sorted(self._waiting.items()):
            if self._ask(cluster, computed) is not Decision.WAIT:
                del self._waiting[worker]
                self._lease(cluster)  # at once: it may have been dropped to free a worker
        self._lease(cluster)
        event = cluster.next_event()
        self.evaluation.collect()
        if isinstance(event, Computed):
            if self._ask(cluster, event) is Decision.WAIT:
                self._waiting[event.worker] = event
        elif isinstance(event, Pushed):
            self._complete(event)
        elif isinstance(event, WorkerReady):
            self._forget(event.worker)
            self._set_idle(event.worker)
        elif isinstance(event, WorkerLost):
            self._lose(event)
        elif isinstance(event, ServersLost):
            self._go_back(event, cluster)
        return None

    def _hold(self) -> None:
        """The next update at which all servers must stand still."""
        done, last = self.coordinator.completed, self.coordinator.ledger.steps
        if self.interrupted_by:
            self.coordinator.hold_at = self.coordinator.admitted
        elif self.coordinator.hold_at is None:
            following = range(done + 1, last)
            self.coordinator.hold_at = next(filter(self._is_stop, following), last)

    def _is_stop(self, step: int) -> bool:
        every = self.run.checkpoint_every_steps or self.record.steps_per_epoch
        return step % every == 0 or self.is_evaluated(step)

    def _stands_still(self) -> bool:
        return self.coordinator.is_still and self.coordinator.completed == self.coordinator.hold_at

    def _stop_here(self, cluster: Cluster, executor: Executor) -> None:
        """All servers stand at one version: evaluation, snapshot, perhaps the end."""
        step = self.coordinator.completed
        self.evaluation.finish()
        is_new = step != self.snapshots.step
        if is_new:
            self.evaluation.due_at = step if self.is_evaluated(step) else None
            self.snapshots.save(cluster, self._idle)
            self.record.write_staleness(self.coordinator.staleness)
        self.coordinator.hold_at = None
        if self.interrupted_by and not self.coordinator.ledger.is_finished:
            raise RunInterrupted(self.interrupted_by, step)
        if is_new:
            self.evaluation.begin(cluster.averages, executor)

    def _set_idle(self, worker: int) -> None:
        if worker not in self._idle:
            self._idle.append(worker)

    def _lease(self, cluster: Cluster) -> None:
        """Gives a batch to every idle worker, as long as there are any."""
        while self._idle:
            lease = self.coordinator.lease(self._idle[0])
            if lease is None:
                return
            cluster.compute(self._idle.pop(0), lease)

    def _ask(self, cluster: Cluster, computed: Computed) -> Decision:
        report = computed.report
        self.unreadable.add(report.skipped, is_empty=report.unreadable)
        decision = self.coordinator.admit(computed.lease, report.version, finite=report.finite)
        if decision is Decision.PUSH:
            self._losses[computed.lease.ticket] = report.loss
            cluster.push(computed.worker, computed.lease)
        elif decision is not Decision.WAIT:
            self._set_idle(computed.worker)
        return decision

    def _complete(self, event: Pushed) -> None:
        loss = self._losses.pop(event.lease.ticket, 0.0)
        if self.coordinator.report(event.lease, event.verdicts):
            self.record.add_loss(loss, self.coordinator.completed)
        self._set_idle(event.worker)

    def _forget(self, worker: int) -> int:
        """Hands out again what a worker had; says how many batches."""
        self._waiting.pop(worker, None)
        lost = self.coordinator.lose(worker)
        for lease in lost:
            self._losses.pop(lease.ticket, None)
        return len(lost)

    def _lose(self, event: WorkerLost) -> None:
        if event.worker in self._idle:
            self._idle.remove(event.worker)
        lost = self._forget(event.worker)
        self.coordinator.counts["lost workers"] += 1
        print(
            f"step {self.coordinator.completed}: worker {event.worker} died ({event.reason}); "
            f"{count_of(lost, 'lease')} handed out again",
            flush=True,
        )

    def _go_back(self, event: ServersLost, cluster: Cluster) -> None:
        """A server died: all of them go back to the last snapshot."""
        before, counts = self.coordinator.completed, self.coordinator.counts
        elapsed = self.record.elapsed()
        self.evaluation.discard()
        self.snapshots.restore(cluster, keep_leases=False)
        self.record.go_on_from(elapsed)
        self._losses.clear()
        step = self.coordinator.completed
        counts["lost servers"] += len(event.indices)
        counts["updates lost with servers"] += before - step
        self.coordinator.counts = counts  # of all that has happened, what was lost included
        for worker in sorted(self._waiting):
            self._set_idle(worker)
        self._waiting.clear()
        names = ", ".join(map(str, event.indices))
        reason = f" ({event.reason})" if event.reason else ""
        print(
            f"step {before}: server {names} died{reason}; all servers are back at the snapshot of "
            f"step {step}: {count_of(before - step, 'update')} lost, and computed again",
            flush=True,
        )
