"""The parts of the kernel benchmark that are timed: kernels and networks, a row for each."""

import math
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

from xception.benchmark.kernels_cases import Case
from xception.benchmark.kernels_check import ALLOWED, compile_ahead
from xception.benchmark.kernels_device import Machine
from xception.benchmark.kernels_models import (
    ANCHOR,
    NAMES,
    build,
    inference_step,
    logits_error,
    training_step,
)
from xception.benchmark.kernels_record import Record
from xception.benchmark.kernels_timing import (
    Contender,
    failure_of,
    median_milliseconds,
    require_gpu,
    time_interleaved,
    warm_up,
)
from xception.errors import RunFailedError
from xception.kernels import tuning

Step = Callable[[], object]


def time_kernels(machine: Machine, record: Record) -> None:
    """Times every kernel at every size, beside the same work in plain eager PyTorch."""
    table = f"kernels, batch {machine.batch}"
    names = [case.name for case in machine.cases(1)]
    if record.late() or not any(record.lacks(table, name) for name in names):
        return
    with tuning.as_if_larger(machine.check_factor), compile_ahead(machine, record, "the kernels"):
        for case in machine.cases(machine.check_batch):
            if record.lacks(table, case.name):
                case.runner(case.fused)()
    pairs = zip(machine.cases(machine.batch), machine.cases(machine.check_batch), strict=True)
    for case, small in pairs:
        if not record.next(table, case.name):
            continue
        row = {
            "name": case.name,
            "kernel": case.kernel,
            "a_step": case.count,
            "summed": case.summed,
            "floor_milliseconds": max(
                case.gigabytes / machine.gb_per_ms, case.teraflop / machine.teraflop_per_ms
            ),
        }
        try:
            row |= _timed(machine, case, small) | {"failure": ""}
            record.say(f"{case.name}: {row['milliseconds']:.3f} ms, of copy {row['of_copy']:.0%}")
        except Exception as error:  # one kernel must not cost the table
            row["failure"] = failure_of(error)
            record.say(f"{case.name}: {row['failure']}")
        record.put(table, row)
        if row["failure"]:
            require_gpu(machine.cuda)


def _timed(machine: Machine, case: Case, small: Case) -> dict[str, float | None]:
    run = case.runner(case.fused)
    run()  # chooses a configuration, which is checked before it is timed
    with tuning.as_if_larger(machine.check_factor):
        error = small.relative_error()
    if not error < ALLOWED:
        raise RunFailedError(f"wrong result, error {error:.1e}")
    repeats = 1 if machine.smoke else 20
    fused = median_milliseconds(run, repeats=repeats, cuda=machine.cuda)
    plain: float | None = None
    with suppress(Exception):  # our own figure stands without it
        plain = median_milliseconds(case.runner(case.plain), repeats=repeats, cuda=machine.cuda)
    bandwidth, rate = case.gigabytes / fused, case.teraflop / fused  # per millisecond
    return {
        "milliseconds": fused,
        "plain_milliseconds": plain,
        "gigabytes_per_second": bandwidth * 1000,
        "teraflop_per_second": rate * 1000,
        "of_copy": bandwidth / machine.gb_per_ms,
        "of_matrix": rate / machine.teraflop_per_ms,
        "error": error,
    }


def time_training(machine: Machine, record: Record, verdict: str) -> None:
    """Training steps of all networks, eager and compiled.

    Args:
        machine: What to run on.
        record: Where the rows go.
        verdict: Why the fused network is not to be timed, or "".
    """

    def make(name: str, mode: str) -> Step:
        model = _on_device(machine, build(name, machine.width))
        return training_step(model, *_batch(machine, machine.batch), mode)

    def ahead() -> Step:
        model = _on_device(machine, build("ours, fused", machine.width))
        return training_step(model, *_batch(machine, machine.check_batch), "")

    def wrong() -> str:
        model = _on_device(machine, build("ours, plain", machine.width))
        images = machine.images(machine.batch)
        fused, plain = logits_error(model, images, gradients=True)
        return "" if fused < max(2 * plain, 0.02) else f"wrong logits, error {fused:.1e}"

    table = f"training, batch {machine.batch}"
    _time_networks(machine, record, table, machine.batch, make, ahead, verdict, wrong)


def time_inference(machine: Machine, record: Record, batch: int, verdict: str) -> None:
    """Inference of all networks; small batches as CUDA graphs, so that Python's time is out.

    Args:
        machine: What to run on.
        record: Where the rows go.
        batch: Images.
        verdict: Why the fused network is not to be timed, or "".
    """
    graph = machine.cuda and batch <= 8

    def make(name: str, mode: str) -> Step:
        model = _on_device(machine, build(name, machine.width))
        return inference_step(model, machine.images(batch), mode, graph=graph)

    def ahead() -> Step:
        model = _on_device(machine, build("ours, fused", machine.width))
        images = machine.images(min(batch, machine.check_batch))
        return inference_step(model, images, "", graph=False)

    _time_networks(machine, record, f"inference, batch {batch}", batch, make, ahead, verdict)


def _time_networks(
    machine: Machine,
    record: Record,
    table: str,
    batch: int,
    make: Callable[[str, str], Step],
    ahead: Callable[[], Step],
    verdict: str,
    wrong: Callable[[], str] | None = None,
) -> None:
    """Warms contenders up one by one and times them interleaved; saves after each step of it.

    Args:
        machine: What to run on.
        record: Where the rows go.
        table: Their table.
        batch: Images of a step.
        make: Builds the step of a network in a compile mode ("" is eager).
        ahead: Builds a step of the fused network of fewer images, to compile its kernels with.
        verdict: Why the fused network is not to be run, or "".
        wrong: Says what is wrong with the fused network once its kernels are chosen, or "".
    """
    places = [(name, mode) for mode in ["", *machine.compile_modes] for name in NAMES]
    labels = {_label(*place): place for place in places}
    lacking = {label for label in labels if record.lacks(table, label)}
    if not lacking:
        return
    torch._dynamo.reset()  # it would give up on a function that it has compiled eight times
    runs: list[Contender] = []
    prepared = False

    def keep() -> None:
        anchor = next((run.median for run in runs if run.name == ANCHOR), math.nan)
        for run in runs:
            if run.milliseconds or run.failure:
                record.put(table, _row(run, batch, anchor))

    for label, (name, mode) in labels.items():
        if label in lacking:
            if not record.next(table, label):
                continue
        elif label != ANCHOR or record.late():  # by the anchor the rows of two runs are compared
            continue
        fused = name == "ours, fused"
        if fused and verdict:
            record.put(table, _row(Contender(label, lambda: None, verdict), batch, math.nan))
            continue
        if fused and not prepared:
            prepared = True
            factor = machine.check_factor if batch >= machine.check_batch else 1
            with tuning.as_if_larger(factor), compile_ahead(machine, record, table):
                ahead()()
        record.say(f"{table}: {label} …")
        run = _contender(machine, label, lambda place=(name, mode): make(*place))  # type: ignore[misc]
        warm_up(run, steps=machine.steps, cuda=machine.cuda)
        if fused and wrong and not run.failure:
            verdict = run.failure = _verdict(wrong)
            wrong = None  # said once
        record.say(f"{table}: {label}: {run.failure or f'{run.median:.2f} ms'}")
        runs.append(run)
        keep()
        if run.failure:
            require_gpu(machine.cuda)
    if not any(run.name in lacking and not run.failure for run in runs):
        return
    time_interleaved(
        runs, rounds=machine.rounds, steps=machine.steps, cuda=machine.cuda, after_round=keep
    )
    keep()
    if any(run.failure for run in runs):
        require_gpu(machine.cuda)
    record.say(f"{table}: {machine.rounds} rounds done")


def _contender(machine: Machine, label: str, make: Callable[[], Step]) -> Contender:
    occupied = torch.cuda.memory_allocated() if machine.cuda else 0
    try:
        return Contender(label, make(), occupied=occupied)
    except Exception as error:
        return Contender(label, lambda: None, failure_of(error))


def _verdict(wrong: Callable[[], str]) -> str:
    try:
        return wrong()
    except torch.OutOfMemoryError:
        return ""  # the check needs more than the step: the smaller checks must do
    except Exception as error:
        return failure_of(error)


def _row(run: Contender, batch: int, anchor: float) -> dict[str, object]:
    return {
        "name": run.name,
        "milliseconds": list(run.milliseconds),
        "anchor_milliseconds": None if math.isnan(anchor) else anchor,
        "images_per_second": batch * 1000 / run.median if run.milliseconds else None,
        "peak_gib": None if math.isnan(run.peak_gib) else run.peak_gib,
        "failure": run.failure,
    }


def _label(name: str, mode: str) -> str:
    return f"{name}, {(mode and 'compiled ' + mode) or 'eager'}"


def _on_device(machine: Machine, model: nn.Module) -> nn.Module:
    return model.to(machine.device).to(memory_format=torch.channels_last)


def _batch(machine: Machine, batch: int) -> tuple[Tensor, Tensor]:
    return machine.images(batch), torch.randint(1000, (batch,), device=machine.device)
