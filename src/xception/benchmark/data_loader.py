"""The loader around the pipeline: the index of a million files, its start, epoch after epoch."""

import multiprocessing
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from xception.data.loading import TrainingLoader
from xception.data.sources import FileSource
from xception.data.transforms import TrainingTransform

IMAGENET_FILES = 1_281_167
_EPOCH_IMAGES = 3000  # at least: a shorter epoch could not be timed
Method = Literal["fork", "spawn"]


@dataclass(frozen=True)
class IndexFigures:
    """The index of as many files as ImageNet has, under names like ImageNet's.

    Attributes:
        files: How many.
        bytes_an_entry: Name, place and label.
        seconds: To build it from a list of names.
    """

    files: int
    bytes_an_entry: float
    seconds: float


@dataclass(frozen=True)
class StartFigures:
    """A loader's start.

    Attributes:
        method: How its processes start.
        files: Entries of its index.
        seconds: Until the first batch is there.
        private_mb: Memory that belongs to one loader process alone, the largest, MB; None where
            the system doesn't tell.
    """

    method: Method
    files: int
    seconds: float
    private_mb: float | None


@dataclass(frozen=True)
class EpochFigures:
    """One of several epochs of one loader.

    Attributes:
        epoch: From 0.
        images_per_second: All loader processes together.
        private_mb: After it, of the largest loader process, MB; None where the system doesn't tell.
    """

    epoch: int
    images_per_second: float
    private_mb: float | None


def measure_index(files: int = IMAGENET_FILES) -> IndexFigures:
    """Builds the index of ``files`` files."""
    names = [f"n{i * 1000 // files:08d}/n{i * 1000 // files:08d}_{i}.JPEG" for i in range(files)]
    labels = np.arange(files) * 1000 // files
    began = time.perf_counter()
    source = FileSource("/data/train", names, labels, [str(i) for i in range(1000)])
    seconds = time.perf_counter() - began
    return IndexFigures(files, source.nbytes / files, seconds)


def measure_start(
    folder: Path, names: Sequence[str], method: Method, *, files: int, workers: int, image_size: int
) -> StartFigures:
    """Starts a loader whose index has ``files`` entries: the folder's, again and again.

    Args:
        folder: Holds the files.
        names: Their paths below it.
        method: How the loader processes start.
        files: Entries of the index.
        workers: Loader processes.
        image_size: Height and width of the results, in pixels.
    """
    source = _Repeated(folder, names, files, forkable=method == "fork")
    began = time.perf_counter()
    loader = TrainingLoader(
        source,
        TrainingTransform(size=image_size),
        batch_size=min(8, files),
        num_workers=workers,
    )
    try:
        next(iter(loader))
        seconds = time.perf_counter() - began
        return StartFigures(method, files, seconds, _largest_private_mb())
    finally:
        loader.close()


def measure_epochs(
    folder: Path, names: Sequence[str], *, epochs: int, workers: int, image_size: int
) -> list[EpochFigures]:
    """Times epoch after epoch of one loader, the default training transforms.

    Args:
        folder: Holds the files.
        names: Their paths below it; repeated until an epoch has 3,000 images.
        epochs: How many.
        workers: Loader processes.
        image_size: Height and width of the results, in pixels.
    """
    files = max(_EPOCH_IMAGES, len(names))
    source = _Repeated(folder, names, files, forkable=True)
    loader = TrainingLoader(
        source, TrainingTransform(size=image_size), batch_size=50, num_workers=workers
    )
    found = []
    try:
        for _ in loader:  # an epoch to start the processes; not counted
            pass
        for epoch in range(epochs):
            began = time.perf_counter()
            images = sum(len(batch.labels) for batch in loader)
            seconds = time.perf_counter() - began
            found.append(EpochFigures(epoch, images / seconds, _largest_private_mb()))
    finally:
        loader.close()
    return found


class _Repeated(FileSource):
    """Files under many entries."""

    def __init__(self, folder: Path, names: Sequence[str], files: int, *, forkable: bool) -> None:
        repeated = [names[index % len(names)] for index in range(files)]
        super().__init__(folder, repeated, np.zeros(files, dtype=np.int64), ["all"])
        self.forkable = forkable and sys.platform == "linux"


def _largest_private_mb() -> float | None:
    """Memory that no other process shares, of the child process that has the most."""
    found = []
    for process in multiprocessing.active_children():
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except OSError:
            return None
        lines = (line.split() for line in text.splitlines())
        found.append(sum(int(words[1]) for words in lines if words[0].startswith("Private_")))
    return max(found) * 1024 / 1e6 if found else None
