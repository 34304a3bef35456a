"""A worker: what it finds out about its own gradient."""

import math

import torch

from xception.distributed.asynchronous import AsynchronousRun, training_batches
from xception.distributed.gradient_worker import GradientWorker
from xception.distributed.settings import AsynchronousKeys


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
