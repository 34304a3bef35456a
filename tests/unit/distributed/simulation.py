"""A run of simulated workers on the small network, watched: which batches are in whose state."""

from collections import Counter
from dataclasses import dataclass, field

import torch

from xception.data.order import epoch_order
from xception.distributed.asynchronous import AsynchronousRun
from xception.distributed.gradient_worker import GradientWorker, training_batches
from xception.distributed.settings import AsynchronousKeys
from xception.distributed.shard import ParameterShard, Verdict
from xception.distributed.simulator import Inline, SimulatedCluster, jittered
from xception.training.fit import Run
from xception.training.metrics_file import read_rows

STEPS_PER_EPOCH, EPOCHS, BATCH, IMAGES = 5, 3, 7, 38
STEPS = STEPS_PER_EPOCH * EPOCHS
NOT_OF_THE_RESULT = ("images_per_second", "elapsed_seconds")


@dataclass
class Simulation:
    """A run of simulated workers, and what happened in it."""

    asynchronous: AsynchronousRun
    cluster: SimulatedCluster
    applied: dict[int, list[int]]  # of each server: the batches whose updates are in its state
    indices: dict[int, list[tuple[int, ...]]] = field(default_factory=dict)  # of each batch
    average: dict[str, torch.Tensor] = field(default_factory=dict)
    restored: list[list[int]] = field(default_factory=list)  # the servers' versions after each

    @property
    def run(self) -> Run:
        return self.asynchronous.run

    @property
    def staleness(self) -> Counter[int]:
        return self.asynchronous.coordinator.staleness

    @property
    def counts(self) -> Counter[str]:
        return self.asynchronous.coordinator.counts

    def rows(self):
        rows = read_rows(self.run.directory.metrics)
        return [{k: v for k, v in row.items() if k not in NOT_OF_THE_RESULT} for row in rows]

    def state(self) -> list[torch.Tensor]:
        """Weights, moving statistics and counters of the servers now."""
        return list(self.asynchronous.layout.join([s.values for s in self.cluster.servers]))


def watch(server: ParameterShard, applied: dict[int, list[int]]) -> ParameterShard:
    """Notes what a server applies; a restore takes back what it undoes."""
    noted, index = applied.setdefault(server.plan.index, []), server.plan.index
    push, restore = server.push, server.restore

    def noting_push(it):
        verdict = push(it)
        if verdict is Verdict.APPLIED:
            applied[index].append(it.number)
        return verdict

    def noting_restore(state, generation=0):
        restore(state, generation)
        del applied[index][state["version"] :]

    server.push, server.restore = noting_push, noting_restore  # type: ignore[method-assign]
    assert noted is applied[index]
    return server


def simulate(
    run: Run,
    workers: int = 1,
    *,
    jitter: float = 0.0,
    durations=None,
    push_seconds: float = 0.0,
    crashes=(),
    resume: bool = False,
    interrupt_at: int | None = None,
    spoil=None,
    applied=None,
    **keys,
) -> Simulation:
    """Trains with simulated workers.

    Args:
        spoil: Called with each worker's (report, pushes) before they are seen; may change them.
        interrupt_at: The computed gradient, counted from 1, after which a signal comes.
    """
    asynchronous = AsynchronousRun(
        run,
        AsynchronousKeys(workers=workers, engine="simulator", **keys),
        log_every_steps=2,
        is_evaluated=lambda step: step % STEPS_PER_EPOCH == 0,
    )
    applied = {} if applied is None else applied
    servers = [watch(server, applied) for server in asynchronous.servers()]
    worker = GradientWorker(run.classifier, training_batches(run.data), asynchronous.layout)
    simulation = Simulation(
        asynchronous,
        SimulatedCluster(
            servers,
            worker,
            durations or jittered(jitter, 11),
            push_seconds=push_seconds,
            crashes=crashes,
            rebuild=lambda i: watch(ParameterShard(**asynchronous.server_arguments(i)), applied),
        ),
        applied,
    )
    compute, computed = worker.compute, [0]
    restore = simulation.cluster.restore

    def noting_restore(states, generation):
        restore(states, generation)
        simulation.restored.append([server.version for server in simulation.cluster.servers])

    simulation.cluster.restore = noting_restore  # type: ignore[method-assign]

    def noting_compute(lease, pulled):
        report, pushes = compute(lease, pulled)
        computed[0] += 1
        batch = worker.batches[lease.epoch, lease.positions]
        simulation.indices.setdefault(lease.number, []).append(tuple(batch.indices.tolist()))
        if computed[0] == interrupt_at:
            asynchronous.interrupt(2)
        return spoil(lease, report, pushes) if spoil else (report, pushes)

    worker.compute = noting_compute  # type: ignore[method-assign]
    asynchronous.begin(simulation.cluster, resume=resume)
    average = asynchronous.drive(simulation.cluster, range(workers), Inline())
    asynchronous.layout.write(average)
    simulation.average = {k: v.clone() for k, v in run.classifier.model.state_dict().items()}
    return simulation


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def assert_every_sample_once(simulation: Simulation) -> None:
    """Every server has every batch once, and an epoch's batches are its order, cut."""
    for numbers in simulation.applied.values():
        assert sorted(numbers) == list(range(STEPS))
    versions = {server.version for server in simulation.cluster.servers}
    assert versions == {STEPS}
    for epoch in range(EPOCHS):
        order = epoch_order(IMAGES, 3, epoch)
        expected = [int(order[place]) for place in range(STEPS_PER_EPOCH * BATCH)]
        used: list[int] = []
        for step in range(STEPS_PER_EPOCH):
            tries = set(simulation.indices[epoch * STEPS_PER_EPOCH + step])
            assert len(tries) == 1, "a batch that is computed again has the same samples"
            used += tries.pop()
        assert used == expected
        assert len(set(used)) == len(used) == 35  # 38 images: three are left over
