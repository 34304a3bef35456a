"""What cells cost on a cluster: GPU hours and money, by arithmetic that is printed with them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xception.errors import InputError
from xception.paper.cells import Cell
from xception.paper.scale import Scale

GPU_HOUR_DOLLARS = 0.90
"""Assumed price of one K80 GPU for an hour, US dollars; not in the paper."""


@dataclass(frozen=True)
class Cost:
    """Of the cells that are not finished.

    Attributes:
        gpus: That a cell keeps busy.
        cells: How many are left.
        hours: Of all cells, one after the other.
        dollars_per_gpu_hour: The price taken.
    """

    gpus: int
    cells: int
    hours: float
    dollars_per_gpu_hour: float

    @property
    def gpu_hours(self) -> float:
        """GPUs × hours."""
        return self.gpus * self.hours

    @property
    def dollars(self) -> float:
        """GPU hours × price."""
        return self.gpu_hours * self.dollars_per_gpu_hour

    def text(self) -> str:
        """The arithmetic in a line.

        Example:
            >>> Cost(gpus=60, cells=2, hours=144, dollars_per_gpu_hour=0.9).text()
            '2 cells, 144 hours × 60 GPUs = 8,640 GPU hours; at $0.90 a GPU hour: $7,776'
        """
        count = "1 cell" if self.cells == 1 else f"{self.cells} cells"
        return (
            f"{count}, {self.hours:,.0f} hours × {self.gpus} GPUs = {self.gpu_hours:,.0f} GPU "
            f"hours; at ${self.dollars_per_gpu_hour:.2f} a GPU hour: ${self.dollars:,.0f}"
        )


def cost(
    scale: Scale, cells: Sequence[Cell], dollars_per_gpu_hour: float = GPU_HOUR_DOLLARS
) -> Cost | None:
    """What the cells that are not finished cost; None at a scale for CPUs.

    Args:
        scale: Theirs.
        cells: Any.
        dollars_per_gpu_hour: US dollars.

    Raises:
        InputError: A negative price.
    """
    if not 0 <= dollars_per_gpu_hour < math.inf:
        raise InputError(f"the price of a GPU hour is {dollars_per_gpu_hour}; give 0 or more")
    if scale.gpus == 0:
        return None
    left = [cell for cell in cells if cell.state != "finished"]
    hours = sum(cell.variant.seconds for cell in left) / 3600
    return Cost(scale.gpus, len(left), hours, dollars_per_gpu_hour)
