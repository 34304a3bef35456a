"""The race: every contender in a process of its own, rounds in a seeded random order.

A process of its own keeps one contender's memory settings, threads and compiler out of another's
time, and gives each its own peak of memory.
"""

import multiprocessing
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import torch

from xception.benchmark.cost import StepCost
from xception.benchmark.work import Prepared, prepare
from xception.data.worker_process import signals_held
from xception.errors import RunFailedError


class Entrant(Protocol):
    """Who takes part: `xception.benchmark.contenders.Contender`, or a pipeline."""

    @property
    def label(self) -> str:
        """For messages."""

    @property
    def words(self) -> frozenset[str]:
        """Of its mode."""


class AnyWork(Protocol):
    """What they do: `xception.benchmark.work.Work`, or a pipeline's work."""

    @property
    def threads(self) -> int:
        """Of the CPU."""

    @property
    def device(self) -> str:
        """Where: "cpu" or "cuda"."""


@dataclass
class Lane:
    """What a contender achieved.

    Attributes:
        contender: Who.
        parameters: Trainable numbers.
        cost: Of one step; None where it could not be counted.
        outcome: What its first step found.
        seconds: Of each timed step.
        peak_bytes: Most memory: of its process on a CPU, of its tensors on a GPU.
        failure: Why it did not run; "" if it did.
    """

    contender: Any
    parameters: int = 0
    cost: StepCost | None = None
    outcome: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    failure: str = ""


def turn_orders(count: int, rounds: int, seed: int) -> list[list[int]]:
    """Returns for each round the order in which the contenders take their turn.

    Example:
        >>> orders = turn_orders(3, 2, seed=0)
        >>> [sorted(order) for order in orders]
        [[0, 1, 2], [0, 1, 2]]
        >>> orders == turn_orders(3, 2, seed=0)
        True
    """
    generator = random.Random(seed)
    return [generator.sample(range(count), count) for _ in range(rounds)]


def run_race(
    contenders: Sequence[Entrant],
    work: AnyWork,
    *,
    rounds: int,
    warm_up: int,
    seed: int = 0,
    prepare: Callable[[Any, Any], Prepared] = prepare,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Lane]:
    """Prepares all contenders, then times one step of each a round.

    Args:
        contenders: Who takes part.
        work: What they do.
        rounds: Timed steps of each.
        warm_up: Steps of each before, after the one that checks it.
        seed: Decides the order of turns.
        prepare: Builds, in its process, what a contender does in a step.
        tell: Is told how far it is.

    Returns:
        The lanes, in the order of ``contenders``. One that failed says why and has no times.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit started thread pools
    lanes = [Lane(contender) for contender in contenders]
    pipes: list[Connection] = []
    processes = []
    try:
        for lane in lanes:
            tell(f"prepares {lane.contender.label}")
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, lane.contender, work, warm_up, prepare), daemon=True
            )
            with signals_held():  # Ctrl-C is the main process's to obey
                process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
            answer = _ask(ours, None, lane)
            if answer is not None:
                lane.parameters, lane.cost, lane.outcome = answer
        for number, order in enumerate(turn_orders(len(lanes), rounds, seed)):
            tell(f"round {number + 1} of {rounds}")
            for index in order:
                lane = lanes[index]
                answer = None if lane.failure else _ask(pipes[index], "step", lane)
                if answer is not None:
                    seconds, lane.peak_bytes = answer
                    lane.seconds.append(seconds)
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    finally:
        for pipe in pipes:
            pipe.close()  # the other side sees the end and leaves
        for process in processes:
            process.join(timeout=10)
            if process.is_alive():
                process.terminate()
    return lanes


def _ask(pipe: Connection, question: str | None, lane: Lane) -> Any:
    """The answer, or None after noting the failure."""
    try:
        if question is not None:
            pipe.send(question)
        kind, answer = pipe.recv()
    except (EOFError, OSError):
        lane.failure = "its process died (out of memory?)"
        return None
    if kind == "failure":
        lane.failure = answer
        return None
    return answer


def _serve(
    pipe: Connection,
    contender: Entrant,
    work: AnyWork,
    warm_up: int,
    prepare: Callable[[Any, Any], Prepared],
) -> None:
    """The contender's process: prepares, answers, then a step for every message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # held since the process was started
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        torch.set_num_threads(work.threads)
        if "keep_memory" in contender.words:
            from xception.training.memory import keep_freed_memory

            if not keep_freed_memory():
                raise RunFailedError("keep_memory needs glibc (Linux)")
        prepared = prepare(contender, work)
        for _ in range(warm_up):
            prepared.step()
        pipe.send(("ready", (prepared.parameters, prepared.cost, prepared.outcome)))
        cuda = work.device.startswith("cuda")
        while True:
            pipe.recv()
            if cuda:  # fills the caches and the allocator's pool again
                prepared.step()
                torch.cuda.synchronize()
            began = time.perf_counter()
            prepared.step()
            if cuda:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - began
            pipe.send(("time", (seconds, _peak_bytes(cuda))))
            if cuda:
                torch.cuda.empty_cache()  # room for the next one
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:  # one contender that fails must not cost the table
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error).strip().splitlines()
        where = "" if isinstance(error, RunFailedError) else f" ({last.name})"
        pipe.send(("failure", f"{type(error).__name__}: {text[0][:200] if text else ''}{where}"))


def _peak_bytes(cuda: bool) -> int:
    if cuda:
        return torch.cuda.max_memory_allocated()
    try:  # not ru_maxrss, which a new process inherits from the one that started it
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
