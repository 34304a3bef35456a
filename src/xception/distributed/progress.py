"""How an asynchronous run gets on, on a terminal: updates, samples, loss, staleness, images/s."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xception.distributed.asynchronous import AsynchronousRun
from xception.training.progress import terminal_bar

_REDRAWN_SECONDS = 0.1


@contextmanager
def shown(run: AsynchronousRun, *, enabled: bool, console: Any = None) -> Iterator[None]:
    """One bar over all updates of the run, for as long as the context lasts.

    Args:
        run: The run, which stands where it begins or goes on.
        enabled: Whether there is a bar at all.
        console: Rich's; None: standard error, and no bar where that is no terminal.
    """
    if not enabled or (console is None and not sys.stderr.isatty()):
        yield
        return
    coordinator, record, total = run.coordinator, run.record, run.run.total_steps
    drawn = 0.0
    with terminal_bar(console) as bar:
        task = bar.add_task("training", total=total, completed=coordinator.completed)

        def show(step: int, loss: float) -> None:
            nonlocal drawn
            if step < total and time.monotonic() - drawn < _REDRAWN_SECONDS:
                return
            drawn = time.monotonic()
            speed = record.images_per_second
            bar.update(
                task,
                completed=step,
                description=(
                    f"update {step:,}/{total:,}  {step * record.batch_size:,} samples  "
                    f"loss {loss:.3f}  staleness {coordinator.mean_staleness:.1f}"
                    + (f"  {speed:.0f} images/s" if speed else "")
                ),
            )

        record.watch = show
        yield
