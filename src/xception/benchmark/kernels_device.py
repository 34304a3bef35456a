"""The device of the kernel benchmark: what it can do, measured, and the sizes to run there."""

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor

from xception.benchmark.kernels_cases import Case, cases
from xception.benchmark.kernels_timing import median_milliseconds
from xception.kernels.tuning import power_of_two


class Machine:
    """The device, its measured copy bandwidth and matrix rate, and the sizes to run."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.smoke = arguments.smoke
        self.device = "cpu" if self.smoke else "cuda"
        self.cuda = not self.smoke
        self.name = "CPU smoke test" if self.smoke else torch.cuda.get_device_name()
        self.batch = 2 if self.smoke else arguments.batch
        # Kernels are compiled for numbers of pixels that 16 divides, and for others: 16 images
        # check what many images run.
        self.check_batch = min(self.batch, 16)
        self.check_factor = power_of_two(self.batch) // power_of_two(self.check_batch)
        self.image_size = 75 if self.smoke else 299
        self.width = 0.125 if self.smoke else 1.0
        self.scale = 0.05 if self.smoke else 1.0  # of the kernels' maps
        self.rounds = 1 if self.smoke else arguments.rounds
        self.steps = 1 if self.smoke else arguments.steps
        modes = "" if self.smoke else arguments.compile_modes
        self.compile_modes = [mode for mode in modes.split(",") if mode]
        self.gb_per_ms, self.teraflop_per_ms = self._measure()

    def cases(self, batch: int) -> Iterator[Case]:
        """The kernels at all their sizes.

        Args:
            batch: Images.
        """
        return cases(batch, self.device, torch.bfloat16, self.scale)

    def images(self, batch: int) -> Tensor:
        """Random images (batch, 3, H, W) in [-1, 1], channels_last.

        Args:
            batch: Their number.
        """
        images = torch.rand(batch, 3, self.image_size, self.image_size, device=self.device) * 2 - 1
        return images.to(memory_format=torch.channels_last)

    def _measure(self) -> tuple[float, float]:
        elements, side = (2**20, 256) if self.smoke else (2**30, 8192)
        source = torch.empty(elements, dtype=torch.bfloat16, device=self.device)
        target = torch.empty_like(source)
        copy = median_milliseconds(lambda: target.copy_(source), repeats=20, cuda=self.cuda)
        square = torch.randn(side, side, dtype=torch.bfloat16, device=self.device)
        product = median_milliseconds(lambda: square @ square, repeats=20, cuda=self.cuda)
        return 2 * elements * 2 / 1e9 / copy, 2 * side**3 / 1e12 / product
