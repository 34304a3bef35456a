"""What a race of input pipelines found, as figures."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xception.benchmark.data_images import source_of
from xception.benchmark.data_pipelines import build_pipeline
from xception.benchmark.data_work import DataWork
from xception.benchmark.figures import quartiles
from xception.benchmark.machine import Machine
from xception.benchmark.race import Lane


@dataclass(frozen=True)
class DataRow:
    """One pipeline's figures; None where it did not run.

    Attributes:
        transforms: What was done to the images.
        pipeline: Whose.
        milliseconds: Of an image, median over the batches.
        quartiles: First and third quartile of the same.
        images_per_second: By the median.
        peak_gib: Most memory of its process, GiB.
        of_copy: Bytes of the files and of the results, per second, over the machine's copy
            bandwidth.
        ratio: Speed over that of the fastest peer that ran.
        usual_ratio: Speed over that of the faster of torchvision's ``ImageFolder`` and timm, as
            they load images by themselves.
        failure: Why it did not run; "" if it did.
    """

    transforms: str
    pipeline: str
    milliseconds: float | None = None
    quartiles: tuple[float, float] | None = None
    images_per_second: float | None = None
    peak_gib: float | None = None
    of_copy: float | None = None
    ratio: float | None = None
    usual_ratio: float | None = None
    failure: str = ""


def data_rows(lanes: Sequence[Lane], work: DataWork, machine: Machine) -> list[DataRow]:
    """Turns lanes into rows, in their order.

    Args:
        lanes: What ``run_race`` returned.
        work: What they did.
        machine: Its copy bandwidth.
    """
    peers = {
        lane.contender.name: statistics.median(lane.seconds)
        for lane in lanes
        if lane.contender.is_peer and lane.seconds and not lane.failure
    }
    fastest = min(peers.values(), default=None)
    usual = min((peers[name] for name in ("torchvision", "timm") if name in peers), default=None)
    return [_row(lane, work, machine, fastest, usual) for lane in lanes]


def _row(
    lane: Lane, work: DataWork, machine: Machine, fastest: float | None, usual: float | None
) -> DataRow:
    name = lane.contender.name
    if lane.failure or not lane.seconds:
        return DataRow(work.transforms, name, failure=lane.failure or "no round was run")
    median = statistics.median(lane.seconds)
    low, high = quartiles(lane.seconds)
    scale = 1000 / work.batch_size
    return DataRow(
        transforms=work.transforms,
        pipeline=name,
        milliseconds=scale * median,
        quartiles=(scale * low, scale * high),
        images_per_second=work.batch_size / median,
        peak_gib=lane.peak_bytes / 2**30,
        of_copy=lane.cost.bytes_moved / median / machine.bytes_per_second if lane.cost else None,
        ratio=fastest / median if fastest else None,
        usual_ratio=usual / median if usual else None,
    )


@dataclass(frozen=True)
class PixelDifference:
    """How far ``fast`` lies from ``exact``, over the training crops of all images.

    Attributes:
        mean: Absolute difference in levels of 255, over all pixels of all crops.
        crops: Compared.
        changed: Of these, how many differ at all.
        largest_mean: The greatest mean of one crop.
    """

    mean: float
    crops: int
    changed: int
    largest_mean: float


def compare_pixels(work: DataWork) -> PixelDifference:
    """Compares the crops of our two ways of decoding, without changes of colour.

    Args:
        work: Its files and image size.
    """
    source = source_of(Path(work.folder), list(work.names))
    exact, fast = (
        build_pipeline(f"xception:{decoding}", source, "crops", work.image_size)
        for decoding in ("exact", "fast")
    )
    means: list[float] = []
    for start in range(0, len(work.names), work.batch_size):
        places = range(start, min(start + work.batch_size, len(work.names)))
        gap = (exact(places).short() - fast(places).short()).abs()
        means += gap.float().mean((1, 2, 3)).tolist()
    changed = sum(mean > 0 for mean in means)
    return PixelDifference(statistics.mean(means), len(means), changed, max(means))
