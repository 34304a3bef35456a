"""The kernel benchmark's checks: nothing is timed that computes something wrong."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

from xception.benchmark.kernels_device import Machine
from xception.benchmark.kernels_models import build, logits_error
from xception.benchmark.kernels_record import Record
from xception.benchmark.kernels_timing import failure_of, require_gpu
from xception.kernels import compilation, tuning

ALLOWED = 0.03  # of the largest value: eight bits, rounded some times


def check(machine: Machine, record: Record) -> str:
    """Holds kernels and network against exact ones before anything is timed.

    With each kernel's first configuration; those that are chosen are checked with the kernels. What
    an earlier run has found stands: a kernel that ends the GPU's use must not end every run.

    Returns:
        What is wrong, or "".
    """
    if all(row["name"] != "logits" for row in record.figures.get("checks", [])):
        _measure(machine, record)
    checks = record.figures["checks"]
    wrong = [row["name"] for row in checks if not row["error"] < row["allowed"]]
    return f"wrong in the checks: {', '.join(wrong)}" if wrong else ""


def _measure(machine: Machine, record: Record) -> None:
    model = build("ours, plain", machine.width).to(machine.device)
    images = machine.images(machine.check_batch)
    with tuning.pinned():
        with compile_ahead(machine, record, "the checks"):
            for case in machine.cases(machine.check_batch):
                case.runner(case.fused)()
            logits_error(copy.deepcopy(model), images)
        worst: dict[str, float] = {}
        for case in machine.cases(machine.check_batch):
            error = _error(case.relative_error, record)
            worst[case.kernel] = max(worst.get(case.kernel, 0.0), error)
        for kernel, error in worst.items():
            record.put("checks", {"name": kernel, "error": error, "allowed": ALLOWED})
        plain = 0.0

        def logits() -> float:
            nonlocal plain
            fused, plain = logits_error(model, images)
            return fused

        fused = _error(logits, record)
    record.put("checks", {"name": "logits", "error": fused, "allowed": max(2 * plain, 0.02)})
    record.say(f"checks: kernels {max(worst.values()):.1e}, logits {fused:.1e}, plain {plain:.1e}")
    if math.isinf(fused):
        require_gpu(machine.cuda)


def _error(measure: Callable[[], float], record: Record) -> float:
    """An error; infinite where it can't be measured, as the rest of the run may still be had."""
    try:
        return measure()
    except Exception as error:
        record.say(f"check: {failure_of(error)}")
        return math.inf


@contextmanager
def compile_ahead(machine: Machine, record: Record, what: str) -> Iterator[None]:
    """Compiles the kernels that are met inside, side by side; on a CPU there are none.

    Args:
        machine: The device.
        record: Is told how many.
        what: What they are for.
    """
    if not machine.cuda:
        yield
        return
    with compilation.side_by_side() as jobs, suppress(Exception):  # the launch will tell
        yield
    torch.cuda.synchronize()
    record.say(f"{len(jobs)} kernels for {what} compiled")
