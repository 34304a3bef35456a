"""A worker: what it finds out about its own gradient."""

import math

import pytest
import torch
from simulation import simulate

from xception.data.decoding import UnreadableImageError
from xception.data.order import epoch_order
from xception.distributed.asynchronous import AsynchronousRun
from xception.distributed.gradient_worker import GradientWorker, training_batches
from xception.distributed.settings import AsynchronousKeys
from xception.errors import InputError


def test_a_worker_sees_itself_that_its_gradient_is_not_finite(build_run):
    run = build_run()
    asynchronous = AsynchronousRun(
        run, AsynchronousKeys(workers=1), log_every_steps=1, is_evaluated=lambda step: False
    )
    worker = GradientWorker(run.classifier, training_batches(run.data), asynchronous.layout)
    lease = asynchronous.coordinator.lease(0)
    servers = asynchronous.servers()
    report, pushes = worker.compute(lease, [server.pull() for server in servers])
    assert report.finite
    assert math.isfinite(report.loss)
    assert (report.version, len(pushes)) == (0, 1)
    servers[0].values.parameters[-1] = math.inf  # a bias of the dense layer
    report, _ = worker.compute(lease, [server.pull() for server in servers])
    assert not report.finite


class Steep(torch.nn.Module):
    """Gradients of some millions; float16 ends at 65,504."""

    def forward(self, logits, labels):
        return logits.sum() * 1e6


def test_a_gradient_that_float16_cannot_hold_is_not_finite(build_run):
    run = build_run()
    asynchronous = AsynchronousRun(
        run, AsynchronousKeys(workers=1), log_every_steps=1, is_evaluated=lambda step: False
    )
    batches, layout = training_batches(run.data), asynchronous.layout
    lease, pulled = asynchronous.coordinator.lease(0), [asynchronous.servers()[0].pull()]
    run.classifier.loss = Steep()
    for precision, finite in (("float32", True), ("bfloat16", True), ("float16", False)):
        report, pushes = GradientWorker(run.classifier, batches, layout, precision).compute(
            lease, pulled
        )
        assert report.finite is finite
        assert pushes[0].gradient.dtype is getattr(torch, precision)


class Broken:
    """Images of which some can't be read."""

    def __init__(self, source, broken):
        self.source, self.broken = source, broken
        self.class_names, self.labels = source.class_names, source.labels

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if index in self.broken:
            raise UnreadableImageError("torn")
        return self.source[index]

    def describe(self, index):
        return f"image {index}"


def test_an_image_that_cannot_be_read_is_replaced_by_the_next_and_told_once(build_run):
    run = build_run()
    order = [int(i) for i in epoch_order(38, 3, 0)]
    run.data.train_source = Broken(run.data.train_source, {order[2]})
    simulation = simulate(run, 2)
    assert simulation.indices[0] == [(*order[:2], order[3], *order[3:7])]
    found = simulation.asynchronous.unreadable.found
    assert found == {order[2]: f"image {order[2]}: torn"}


def test_too_many_of_them_end_the_run_in_one_sentence(build_run):
    run = build_run()
    run.data.max_unreadable = 1
    run.data.train_source = Broken(run.data.train_source, {0, 1})
    with pytest.raises(InputError, match=r"2 training images can't be read, the first is image"):
        simulate(run, 2)


def test_a_batch_with_an_empty_place_ends_the_run_before_its_loss_is_computed(build_run):
    run = build_run()
    run.data.max_unreadable = 0
    run.data.train_source = Broken(run.data.train_source, {5})
    with pytest.raises(InputError, match=r"1 training images can't be read.*max_unreadable = 0"):
        simulate(run, 1)
