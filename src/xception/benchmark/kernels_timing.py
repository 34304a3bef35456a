"""Interleaved timing for the kernel benchmark: rounds over all contenders, medians, memory."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch


@dataclass
class Contender:
    """Something to time.

    Attributes:
        name: For the table.
        run: One step.
        failure: Why it cannot run, if it cannot; then it is left out of the rounds.
        milliseconds: Time of one step, a value a round.
        peak_gib: Peak memory of a step, GiB.
    """

    name: str
    run: Callable[[], object]
    failure: str = ""
    milliseconds: list[float] = field(default_factory=list)
    peak_gib: float = math.nan

    @property
    def median(self) -> float:
        """Median time of a step, milliseconds; NaN if it could not run."""
        return statistics.median(self.milliseconds) if self.milliseconds else math.nan

    @property
    def spread(self) -> str:
        """Fastest and slowest round, milliseconds."""
        if not self.milliseconds:
            return self.failure
        return f"{min(self.milliseconds):.2f}-{max(self.milliseconds):.2f}"


def time_interleaved(contenders: list[Contender], *, rounds: int, steps: int, cuda: bool) -> None:
    """Warms every contender up, then times all of them in turn, round after round.

    A clock that sinks while the machine gets warm meets all of them alike.

    Args:
        contenders: Are given their times.
        rounds: Number of rounds.
        steps: Steps of a contender in a round.
        cuda: Whether to time with CUDA events.
    """
    for contender in contenders:
        _warm_up(contender, cuda)
    for _ in range(rounds):
        for contender in contenders:
            if not contender.failure:
                contender.milliseconds.append(_milliseconds(contender.run, steps, cuda))


def median_milliseconds(run: Callable[[], object], *, repeats: int, cuda: bool) -> float:
    """Median time of a function, milliseconds, after three runs that do not count."""
    for _ in range(3):
        run()
    return statistics.median(_milliseconds(run, 1, cuda) for _ in range(repeats))


def _warm_up(contender: Contender, cuda: bool) -> None:
    try:
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        for _ in range(3):
            contender.run()
        if cuda:
            torch.cuda.synchronize()
            contender.peak_gib = torch.cuda.max_memory_allocated() / 2**30
    except Exception as error:  # one contender that fails must not cost the table
        contender.failure = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
        print(f"  {contender.name}: {contender.failure}", flush=True)


def _milliseconds(run: Callable[[], object], steps: int, cuda: bool) -> float:
    if not cuda:
        start = time.perf_counter()
        for _ in range(steps):
            run()
        return (time.perf_counter() - start) * 1000 / steps
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(steps):
        run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / steps
