"""What the machine can do: its copy bandwidth and its matrix rate, measured."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Machine:
    """Measured limits of the device, at the threads and in the dtype of the comparison.

    Attributes:
        bytes_per_second: Of a copy of a large array, read and written bytes together.
        flop_per_second: Of the product of two large square matrices.
    """

    bytes_per_second: float
    flop_per_second: float


def measure_machine(device: torch.device, dtype: torch.dtype, *, repeats: int = 7) -> Machine:
    """Measures both limits: the fastest of ``repeats`` runs, since a limit is what can be reached.

    Args:
        device: Where.
        dtype: Of the arrays.
        repeats: Runs.
    """
    cuda = device.type == "cuda"
    elements, side = (2**30, 8192) if cuda else (2**26, 1536)
    source = torch.zeros(elements, dtype=dtype, device=device)
    target = torch.zeros_like(source)
    copying = _fastest_seconds(lambda: target.copy_(source), device, repeats)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    multiplying = _fastest_seconds(lambda: torch.mm(left, right, out=product), device, repeats)
    return Machine(2 * elements * dtype.itemsize / copying, 2 * side**3 / multiplying)


def _fastest_seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    seconds = []
    for turn in range(repeats + 1):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn:
            seconds.append(time.perf_counter() - began)
    return min(seconds)
