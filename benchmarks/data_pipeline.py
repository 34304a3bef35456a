"""Images per second and core of the input pipelines, and the index of 1.28 million files.

    OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/data_pipeline.py FOLDER_OF_JPEGS

Everybody reads the same files, cuts the same kind of crop (5–100 % of the area, 299x299, flips) and
ends with uint8 pixels of a channels-first tensor, in one process. Each chunk of files goes through
all pipelines before the next chunk; what is compared are the medians over the chunks.
"""

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torchvision import io
from torchvision.datasets.folder import default_loader
from torchvision.transforms import v2

from xception.data.batches import EvaluationBatches, TrainingBatches
from xception.data.crop_decoding import Decoding
from xception.data.preprocessing import Preprocessing
from xception.data.sources import FileSource
from xception.data.transforms import TrainingTransform

SIZE = 299
CHUNK = 50
AREA = (0.05, 1.0)
Pipeline = Callable[[range], torch.Tensor]


def ours(source: FileSource, *, colors: bool, decoding: Decoding) -> Pipeline:
    plain = {} if colors else {"brightness": 0.0, "saturation": None}
    transform = TrainingTransform(size=SIZE, **plain)  # type: ignore[arg-type]
    batches = TrainingBatches(source, transform, seed=0, attempts=1, decoding=decoding)
    return lambda places: batches[(0, places)].images


def ours_evaluation(source: FileSource) -> Pipeline:
    batches = EvaluationBatches(source, Preprocessing(size=SIZE))
    return lambda places: batches[places].images


def file_by_file(
    source: FileSource, load: Callable[[str], object], transform: Callable[..., torch.Tensor]
) -> Pipeline:
    return lambda places: torch.stack([transform(load(source.describe(i))) for i in places])


def torchvision_transform(*, training: bool, colors: bool) -> Callable[..., torch.Tensor]:
    steps: list[torch.nn.Module]
    if training:
        steps = [v2.RandomResizedCrop(SIZE, scale=AREA), v2.RandomHorizontalFlip()]
        if colors:
            steps.append(v2.ColorJitter(brightness=32 / 255, saturation=(0.5, 1.5)))
    else:
        steps = [v2.Resize(341), v2.CenterCrop(SIZE)]
    transform: Callable[..., torch.Tensor] = v2.Compose([v2.ToImage(), *steps])
    on_pil = v2.Compose([*steps, v2.PILToTensor()])
    return lambda image: on_pil(image) if isinstance(image, Image.Image) else transform(image)


def timm_transform(*, training: bool, colors: bool) -> Callable[..., torch.Tensor]:
    jitter = (32 / 255, 0.0, 0.5) if colors else 0.0
    made: Callable[..., torch.Tensor] = create_transform(
        SIZE,
        is_training=training,
        scale=AREA,
        color_jitter=jitter,
        interpolation="bilinear",
        crop_pct=0.875,
        use_prefetcher=True,  # uint8: it normalises on the device, as we do
    )
    return lambda image: torch.as_tensor(made(image))


def rgb_tensor(path: str) -> torch.Tensor:
    return io.decode_image(path, mode=io.ImageReadMode.RGB, apply_exif_orientation=True)


def pipelines(source: FileSource, *, training: bool, colors: bool) -> dict[str, Pipeline]:
    vision = torchvision_transform(training=training, colors=colors)
    timm = timm_transform(training=training, colors=colors)
    found = {
        "torchvision ImageFolder (PIL) + v2": file_by_file(source, default_loader, vision),
        "torchvision decode_image + v2": file_by_file(source, rgb_tensor, vision),
        "timm (PIL)": file_by_file(source, default_loader, timm),
    }
    if not training:
        return {"xception, exact": ours_evaluation(source), **found}
    decodings: tuple[Decoding, ...] = ("exact", "fast")
    return {
        **{f"xception, {d}": ours(source, colors=colors, decoding=d) for d in decodings},
        **found,
    }


def compare(title: str, runs: dict[str, Pipeline], count: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    starts = range(0, count - CHUNK + 1, CHUNK)
    for run in runs.values():
        run(range(0, 10))  # warm up
    for turn, start in enumerate(starts):
        order = list(runs.items())
        first = turn % len(order)  # nobody is always the one that finds the files cold
        for name, run in order[first:] + order[:first]:
            begin = time.perf_counter()
            run(range(start, start + CHUNK))
            seconds[name].append((time.perf_counter() - begin) / CHUNK)
    medians = {name: 1 / statistics.median(taken) for name, taken in seconds.items()}
    peer = max(rate for name, rate in medians.items() if not name.startswith("xception"))
    print(
        f"\n### {title}\n\n| pipeline | images/s per core | to the fastest peer |\n"
        "| --- | --- | --- |"
    )
    for name, rate in medians.items():
        print(f"| {name} | {rate:.0f} | {rate / peer:.2f} |")


def compare_pixels(source: FileSource) -> None:
    batches = [ours(source, colors=False, decoding=d) for d in ("exact", "fast")]
    means = []
    for start in range(0, len(source) - CHUNK + 1, CHUNK):
        exact, fast = (run(range(start, start + CHUNK)).short() for run in batches)
        means.extend((exact - fast).abs().float().mean((1, 2, 3)).tolist())
    changed = sum(mean > 0 for mean in means)
    print(
        f"\nMean absolute difference of fast to exact: {np.mean(means):.3f} of 255 over all "
        f"{len(means)} crops; {changed} crops differ, by {max(means):.2f} at most in the mean."
    )


def measure_index(files: int) -> None:
    names = [f"n{i * 1000 // files:08d}/n{i * 1000 // files:08d}_{i}.JPEG" for i in range(files)]
    labels = np.arange(files) * 1000 // files
    begin = time.perf_counter()
    source = FileSource("/data/train", names, labels, [str(i) for i in range(1000)])
    seconds = time.perf_counter() - begin
    del names
    print(
        f"\nIndex of {files:,} files: {source.nbytes / files:.1f} bytes an entry, packed in "
        f"{seconds:.2f} s."
    )
    child = os.fork()
    if child == 0:
        before = private_mb()
        choices = random.Random(0)
        for _ in range(300_000):
            source.describe(choices.randrange(files))
        print(
            f"A forked process that looks up 300,000 of them: private memory {before:.1f} MB "
            f"before, {private_mb():.1f} MB after.",
            flush=True,
        )
        os._exit(0)
    os.waitpid(child, 0)


def private_mb() -> float:
    text = Path("/proc/self/smaps_rollup").read_text()
    return (
        sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private")) / 1e3
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=250, help="how many of them, at most")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    names = sorted(
        p.name for p in arguments.folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg")
    )
    names = names[: arguments.files]
    source = FileSource(arguments.folder, names, [0] * len(names), ["all"])
    libraries = ("torch", "torchvision", "timm", "pillow", "torchcodec", "simplejpeg")
    print(", ".join(f"{name} {version(name)}" for name in libraries), platform.python_version())
    kinds = (
        ("Training crops", True, False),
        ("With colours", True, True),
        ("Evaluation", False, False),
    )
    for index in range(len(source)):
        source.encoded(index)  # into the page cache
    for title, training, colors in kinds:
        compare(title, pipelines(source, training=training, colors=colors), len(source))
    compare_pixels(source)
    measure_index(1_281_167)


if __name__ == "__main__":
    main()
