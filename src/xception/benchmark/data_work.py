"""The work that the input pipelines are timed at: a batch's files, decoded and augmented."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xception.benchmark.cost import StepCost
from xception.benchmark.data_images import source_of
from xception.benchmark.data_pipelines import DataContender, Transforms, build_pipeline
from xception.benchmark.work import Prepared
from xception.errors import RunFailedError


@dataclass(frozen=True)
class DataWork:
    """What every pipeline does in a step: one batch of the folder, in one process.

    Attributes:
        folder: Holds the files.
        names: Their paths below it.
        transforms: What is done to the images.
        batch_size: Files of a step.
        image_size: Height and width of the results, pixels.
        threads: Of the CPU.
        device: "cpu".
    """

    folder: str
    names: tuple[str, ...]
    transforms: Transforms
    batch_size: int
    image_size: int
    threads: int
    device: str = "cpu"

    @property
    def batches(self) -> int:
        """Full batches of the folder."""
        return len(self.names) // self.batch_size

    def as_primitives(self) -> dict[str, Any]:
        """For JSON, the files counted."""
        return {**asdict(self), "names": len(self.names)}


def prepare_pipeline(contender: DataContender, work: DataWork) -> Prepared:
    """Builds a pipeline, runs it once and checks what comes out.

    Its steps go through the batches in turn, so that in every round all contenders get the same
    files.

    Args:
        contender: Whom.
        work: What to do.

    Raises:
        RunFailedError: The results are not bytes of the right shape, or all alike.
    """
    torch.manual_seed(0)
    source = source_of(Path(work.folder), list(work.names))
    pipeline = build_pipeline(contender.name, source, work.transforms, work.image_size)
    first = pipeline(range(work.batch_size))
    expected = (work.batch_size, 3, work.image_size, work.image_size)
    if first.shape != expected or first.dtype != torch.uint8 or bool((first == first[0]).all()):
        raise RunFailedError(
            f"{contender.label}: its first batch is not {expected} bytes of different images, "
            "nothing is timed"
        )
    turn = 0

    def step() -> Tensor:
        nonlocal turn
        start = turn % work.batches * work.batch_size
        turn += 1
        return pipeline(range(start, start + work.batch_size))

    read = sum((Path(work.folder) / name).stat().st_size for name in work.names) / len(work.names)
    moved = work.batch_size * (read + 3 * work.image_size**2)
    return Prepared(step, 0, StepCost(0, round(moved)), [first.float().mean().item()])
