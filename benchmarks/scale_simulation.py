"""Order, resume and shards at JFT's size: memory of a process and time, against the size.

A few real ArrayRecord files of small images are written; a manifest lists them again and again, so
that up to 350,000,000 index entries share their records. Every row is measured in fresh processes.

    OMP_NUM_THREADS=1 python benchmarks/scale_simulation.py
    OMP_NUM_THREADS=1 python benchmarks/scale_simulation.py --images-per-shard 65536

Memory is what is private to a process and written to (Private_Dirty in Linux' smaps_rollup): what a
forked process still shares with its parent, and shared memory, are not in it. Each figure is less
that of the same process with the four files alone, for the interpreter and its libraries.
"""

import argparse
import json
import multiprocessing
import pickle
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from simplejpeg import encode_jpeg

from xception.data.digits import open_digits
from xception.data.loading import TrainingLoader
from xception.data.manifest import Manifest, write_manifest
from xception.data.order import epoch_order
from xception.data.packing import Packing, pack
from xception.data.shards import ShardImages, open_shards
from xception.data.targets import SparseLabels
from xception.data.transforms import TrainingTransform

SIZES = [1_000_000, 10_000_000, 100_000_000, 350_000_000]
FILES = 4
CLASSES, LABELS = 17_000, 5
WORKERS, IMAGES = 60, 32  # the paper's GPUs; images of each in a step, as in the recipe
BATCHES = (10, 60)  # after so many of a process its memory is looked at
BASE_BATCHES = 4  # the same for the set of four files, which has no more
LOOKUPS = 20  # global batches whose order is looked up
MEBIBYTE = 2**20


class DigitFiles:
    """Scans of digits as JPEG files, as many as wanted, over and over the same."""

    def __init__(self, count: int) -> None:
        images = open_digits("train").images[:64].permute(0, 2, 3, 1).contiguous().numpy()
        self.encoded = [encode_jpeg(image, colorspace="RGB") for image in images]
        self.count = count

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> bytes:
        """The bytes of one."""
        return self.encoded[index % len(self.encoded)]

    def key(self, index: int) -> str:
        """Its name."""
        return f"{index:09d}.jpg"

    def size(self, index: int) -> int:
        """Of its file."""
        return len(self.read(index))

    describe = key


def private_mib(process: int | str = "self") -> float:
    """Memory that is this process's alone and was written to."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024 / MEBIBYTE
    raise RuntimeError("this kernel does not report Private_Dirty")


def write_shards(folder: Path, images_per_shard: int) -> Manifest:
    """A few files of records, packed as ``xception data pack`` does."""
    count = FILES * images_per_shard
    rng = np.random.default_rng(0)
    labels = [sorted(rng.choice(CLASSES, LABELS, replace=False).tolist()) for _ in range(64)]
    return pack(
        Packing(
            DigitFiles(count),
            SparseLabels.from_lists([labels[i % 64] for i in range(count)], CLASSES),
            [f"class-{number}" for number in range(CLASSES)],
            multi_label=True,
            images_per_shard=images_per_shard,
        ),
        folder,
    )


def list_shards(folder: Path, manifest: Manifest, number: int) -> None:
    """A manifest of so many shards: the same files, listed again and again."""
    listed = [manifest.shards[i % len(manifest.shards)] for i in range(number)]
    write_manifest(
        folder,
        Manifest(
            manifest.packing, manifest.class_names, True, None, listed, manifest.images_per_class
        ),
    )


def seconds_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long it takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def loader_of(source: ShardImages, samples_seen: int, num_workers: int = 0) -> TrainingLoader:
    """The first of 60 processes, each with 32 images of a step."""
    return TrainingLoader(
        source,
        TrainingTransform(size=32, crop="shift"),
        batch_size=WORKERS * IMAGES,
        world_size=WORKERS,
        num_workers=num_workers,
        samples_seen=samples_seen,
    )


def measure_loader_process(folder: Path, method: str) -> dict[str, Any]:
    """The memory of one loader process, and of the training process that has started it."""
    source = open_shards(folder, "train")
    # Shards are spawned; for the comparison they may be forked too, as nothing was read yet.
    source.forkable = method == "fork"
    loader = loader_of(source, len(source) // 2, num_workers=1)
    looks = BATCHES if len(loader) // 2 > BATCHES[-1] else (BASE_BATCHES,)
    found = []
    for number, _ in enumerate(loader, start=1):
        if number in looks:
            (process,) = multiprocessing.active_children()
            found.append(private_mib(process.pid or ""))
        if number == looks[-1]:
            break
    return {"private": found, "parent": private_mib()}


def measure_one_process(folder: Path) -> dict[str, Any]:
    """Times of a training process without loader processes."""
    open_seconds, source = seconds_of(lambda: open_shards(folder, "train"))
    opened = private_mib()

    def first_batch(samples_seen: int) -> tuple[TrainingLoader, Any, Any]:
        epoch_order.cache_clear()
        loader = loader_of(source, samples_seen)
        batches = iter(loader)
        return loader, batches, next(batches)

    first_batch(0)  # to warm up
    start_seconds, _ = seconds_of(lambda: first_batch(0))
    middle = len(source) // 2
    resume_seconds, (loader, batches, _) = seconds_of(lambda: first_batch(middle))
    assert loader.samples_seen // loader.batch_size == middle // loader.batch_size + 1
    few = len(loader) // 2 <= BATCHES[-1]
    reads = [
        seconds_of(lambda: next(batches))[0]
        for _ in range((BASE_BATCHES if few else BATCHES[-1]) - 1)
    ]
    rng = random.Random(0)
    order = epoch_order(len(source), 0, 0)
    lookups = []
    for _ in range(LOOKUPS):
        start = rng.randrange(len(source) - WORKERS * IMAGES)
        places = range(start, start + WORKERS * IMAGES)
        lookups.append(seconds_of(lambda p=places: [int(order[place]) for place in p])[0])  # type: ignore[misc]
    return {
        "images": len(source),
        "opened": opened,
        "read": private_mib(),
        "state_bytes": len(pickle.dumps(loader.state_dict())),
        "open_seconds": open_seconds,
        "start_ms": start_seconds * 1000,
        "resume_ms": resume_seconds * 1000,
        "order_us": statistics.median(lookups) * 1e6 / (WORKERS * IMAGES),
        "read_ms": statistics.median(reads) * 1000,
    }


def fresh_process(script: str, *words: object) -> dict[str, Any]:
    """The figures that a script prints as its last line, in a process of its own."""
    done = subprocess.run(
        [sys.executable, script, *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def row(*cells: object) -> None:
    """A line of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def tell_data(sizes: list[int], images_per_shard: int) -> None:
    """The tables of memory and of times."""
    first, last = BATCHES
    row(
        "images",
        "shards",
        f"spawned, {first} batches",
        f"spawned, {last}",
        f"forked, {first}",
        f"forked, {last}",
        "their parent, manifest read",
        "one process alone, all batches",
    )
    row(*["---"] * 8)
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        manifest = write_shards(folder, images_per_shard)
        alone: list[dict[str, Any]] = []
        for shards in [FILES, *(size // images_per_shard for size in sizes)]:
            list_shards(folder, manifest, shards)
            spawned, forked = (
                fresh_process(__file__, "--measure", folder, method) for method in ("spawn", "fork")
            )
            one = fresh_process(__file__, "--measure", folder, "alone")
            if shards == FILES:
                base = spawned, forked, one
                taken = (
                    f"Taken away (four files): spawned {spawned['private'][0]:.0f}, forked "
                    f"{forked['private'][0]:.0f}, parent {spawned['parent']:.0f}, "
                    f"alone {one['read']:.0f} MiB."
                )
                continue
            cells = [
                f"{mib - zero['private'][0]:.1f}"
                for found, zero in ((spawned, base[0]), (forked, base[1]))
                for mib in found["private"]
            ]
            parent = spawned["parent"] - base[0]["parent"]
            row(
                f"{one['images']:,}",
                f"{shards:,}",
                *cells,
                f"{parent:.1f}",
                f"{one['read'] - base[2]['read']:.1f}",
            )
            alone.append(one)
    print(f"\n{taken}\n")
    row(
        "images",
        "s to open",
        "ms: first batch",
        "ms: first batch, resumed in the middle",
        "us: order, a look-up",
        f"ms: batch of {IMAGES}",
    )
    row(*["---"] * 6)
    for one in alone:
        row(
            f"{one['images']:,}",
            f"{one['open_seconds']:.2f}",
            f"{one['start_ms']:.0f}",
            f"{one['resume_ms']:.0f}",
            f"{one['order_us']:.1f}",
            f"{one['read_ms']:.1f}",
        )
    print(f"\nThe loader's state: {one['state_bytes']} bytes pickled.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--images-per-shard", type=int, default=4096)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        torch.set_num_threads(1)
        folder, how = Path(options.measure[0]), options.measure[1]
        alone = how == "alone"
        found = measure_one_process(folder) if alone else measure_loader_process(folder, how)
        print(json.dumps(found))
        return
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}\n"
    )
    tell_data(options.sizes, options.images_per_shard)


if __name__ == "__main__":
    main()
