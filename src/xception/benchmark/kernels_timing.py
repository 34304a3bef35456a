"""Interleaved timing for the kernel benchmark: rounds over all contenders, medians, memory."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from xception.errors import RunFailedError


@dataclass
class Contender:
    """Something to time.

    Attributes:
        name: For the table.
        run: One step.
        failure: Why it cannot run, if it cannot; then it is left out of the rounds.
        milliseconds: Time of one step, a value a round; the first one until there are others.
        peak_gib: Peak memory of a step, GiB.
        occupied: Bytes of the GPU that others had before it was built; not counted in the peak.
    """

    name: str
    run: Callable[[], object]
    failure: str = ""
    milliseconds: list[float] = field(default_factory=list)
    peak_gib: float = math.nan
    occupied: int = 0

    @property
    def median(self) -> float:
        """Median time of a step, milliseconds; NaN if it could not run."""
        return statistics.median(self.milliseconds) if self.milliseconds else math.nan


def time_interleaved(
    contenders: list[Contender],
    *,
    rounds: int,
    steps: int,
    cuda: bool,
    after_round: Callable[[], None] = lambda: None,
) -> None:
    """Times contenders that have been warmed up in turn, round after round.

    A clock that sinks while the machine gets warm meets all of them alike. One that fails in a
    round, for lack of memory, leaves the rounds and keeps its failure.

    Args:
        contenders: Are given their times.
        rounds: Number of rounds.
        steps: Steps of a contender in a round.
        cuda: Whether to time with CUDA events.
        after_round: Is called after each, to save what is there.
    """
    for contender in contenders:
        contender.milliseconds = []
    for _ in range(rounds):
        for contender in contenders:
            if not contender.failure:
                _guarded(contender, lambda one=contender: _turn(one, steps, cuda))  # type: ignore[misc]
        after_round()


def warm_up(contender: Contender, *, steps: int, cuda: bool) -> None:
    """Runs a contender for the first time, which compiles and tunes it, and times a first round.

    The first round stands until the interleaved ones replace it: should the program be stopped
    while another contender is compiled, it is not lost.

    Args:
        contender: Is given its peak memory and first time, or its failure.
        steps: Steps to time.
        cuda: Whether to time with CUDA events.
    """

    def run() -> None:
        if cuda:
            torch.cuda.empty_cache()
        for _ in range(2):
            contender.run()
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        _turn(contender, steps, cuda)
        if cuda:
            peak = torch.cuda.max_memory_allocated() - contender.occupied
            contender.peak_gib = peak / 2**30

    if not contender.failure:
        _guarded(contender, run)


def median_milliseconds(run: Callable[[], object], *, repeats: int, cuda: bool) -> float:
    """Median time of a function, milliseconds, after three runs that do not count.

    On a GPU the function finds a cold L2 cache, and Python's own time is left out: the GPU sleeps
    while the launches are queued.
    """
    for _ in range(3):
        run()
    flush = torch.empty(2**28, dtype=torch.int8, device="cuda") if cuda else None
    times = []
    for _ in range(repeats):
        if flush is not None:
            flush.zero_()
            torch.cuda._sleep(2_000_000)  # cycles: about a millisecond
        times.append(_milliseconds(run, 1, cuda, synchronize=False))
    return statistics.median(times)


def require_gpu(cuda: bool) -> None:
    """Ends a run whose GPU can be used no more, before every other row fails of the same.

    Raises:
        RunFailedError: An earlier error, such as an illegal access, has ended the use of the GPU.
    """
    if not cuda:
        return
    try:
        torch.cuda.synchronize()
    except Exception as error:
        raise RunFailedError(
            f"the GPU can't be used any more in this run ({failure_of(error)}); what was measured "
            "is kept: the same command goes on with the row after the one that failed"
        ) from None


def failure_of(error: BaseException) -> str:
    """An error in a few words, for a table's cell."""
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:80]}".replace("|", "/")


def _guarded(contender: Contender, run: Callable[[], None]) -> None:
    try:
        run()
    except Exception as error:  # one contender that fails must not cost the table
        contender.failure = failure_of(error)


def _turn(contender: Contender, steps: int, cuda: bool) -> None:
    """One round of a contender; its first step is not timed: it gets its memory back."""
    if cuda:
        torch.cuda.empty_cache()
    contender.run()
    contender.milliseconds.append(_milliseconds(contender.run, steps, cuda))


def _milliseconds(
    run: Callable[[], object], steps: int, cuda: bool, *, synchronize: bool = True
) -> float:
    if not cuda:
        start = time.perf_counter()
        for _ in range(steps):
            run()
        return (time.perf_counter() - start) * 1000 / steps
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    if synchronize:
        torch.cuda.synchronize()
    begin.record()
    for _ in range(steps):
        run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / steps
