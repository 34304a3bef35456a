"""The device of the kernel benchmark: what it can do, measured, and the sizes to run there."""

import argparse
from typing import Any

import torch

from xception.benchmark.kernels_timing import median_milliseconds


class Machine:
    """The device, its measured copy bandwidth and matrix rate, and the sizes to run."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.smoke = arguments.smoke
        self.device = "cpu" if self.smoke else "cuda"
        self.cuda = not self.smoke
        self.name = "CPU smoke test" if self.smoke else torch.cuda.get_device_name()
        self.batch = 2 if self.smoke else arguments.batch
        self.image_size = 75 if self.smoke else 299
        self.width = 0.125 if self.smoke else 1.0
        self.scale = 0.05 if self.smoke else 1.0  # of the kernels' maps
        self.rounds = 1 if self.smoke else arguments.rounds
        self.steps = 1 if self.smoke else arguments.steps
        modes = "" if self.smoke else arguments.compile_modes
        self.compile_modes = [mode for mode in modes.split(",") if mode]
        self.figures: dict[str, Any] = {}  # what --json writes and --plot draws
        self.gb_per_ms, self.teraflop_per_ms = self._measure()

    def _measure(self) -> tuple[float, float]:
        elements, side = (2**20, 256) if self.smoke else (2**30, 8192)
        source = torch.empty(elements, dtype=torch.bfloat16, device=self.device)
        target = torch.empty_like(source)
        copy = median_milliseconds(lambda: target.copy_(source), repeats=20, cuda=self.cuda)
        square = torch.randn(side, side, dtype=torch.bfloat16, device=self.device)
        product = median_milliseconds(lambda: square @ square, repeats=20, cuda=self.cuda)
        return 2 * elements * 2 / 1e9 / copy, 2 * side**3 / 1e12 / product
