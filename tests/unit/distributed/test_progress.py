"""The bar of an asynchronous run: what it tells on a terminal, and that it is silent elsewhere."""

import io

import pytest
from rich.console import Console

from xception.distributed import progress
from xception.distributed.asynchronous import AsynchronousRun
from xception.distributed.gradient_worker import GradientWorker, training_batches
from xception.distributed.settings import AsynchronousKeys
from xception.distributed.simulator import Inline, SimulatedCluster, jittered


def train(run, **shown):
    """Two workers on the small network: 15 updates of 7 images."""
    asynchronous = AsynchronousRun(
        run, AsynchronousKeys(workers=2), log_every_steps=5, is_evaluated=lambda step: False
    )
    worker = GradientWorker(run.classifier, training_batches(run.data), asynchronous.layout)
    cluster = SimulatedCluster(asynchronous.servers(), worker, jittered(0))
    asynchronous.begin(cluster, resume=False)
    with progress.shown(asynchronous, **shown):
        asynchronous.drive(cluster, range(2), Inline())
    return asynchronous


def test_the_bar_tells_updates_samples_loss_staleness_and_speed(build_run, monkeypatch):
    monkeypatch.setattr(progress, "_REDRAWN_SECONDS", 0.0)
    written = io.StringIO()
    told = []
    console = Console(file=written, force_terminal=True, width=160)
    bar = progress.terminal_bar(console)
    update = bar.update
    monkeypatch.setattr(bar, "update", lambda task, **now: (told.append(now), update(task, **now)))
    monkeypatch.setattr(progress, "terminal_bar", lambda console: bar)
    run = train(build_run(), enabled=True, console=console)
    assert [now["completed"] for now in told] == list(range(1, 16))
    assert told[3]["description"].startswith("update 4/15  28 samples  loss ")
    assert "images/s" not in told[3]["description"]  # no row yet
    # Two workers of equal speed: the first gradient is of staleness 0, all others of 1 but where
    # they wait for each other at the end.
    mean = run.coordinator.mean_staleness
    assert 0.8 < mean < 1
    assert (
        f"  staleness {mean:.1f}  {run.record.images_per_second:.0f} images/s"
        in (told[-1]["description"])
    )
    assert "update 15/15  105 samples" in written.getvalue()


@pytest.mark.parametrize("enabled", [True, False])
def test_without_a_terminal_or_where_it_is_switched_off_nothing_is_drawn(
    build_run, monkeypatch, capsys, enabled
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: not enabled, raising=False)
    train(build_run(), enabled=enabled)
    assert capsys.readouterr().err == ""
