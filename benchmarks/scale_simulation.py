"""Order, shards, resume and leases at JFT's size: memory of a process and time, against the size.

A few real ArrayRecord files of small images are written; a manifest lists them again and again, so
that up to 350,000,000 index entries share their records. Every size is measured in a fresh process.
Memory is anonymous memory (RssAnon of Linux' /proc/self/status), compared with that of the same
process after it has read a batch of a set that consists of one of these files.

    python benchmarks/scale_simulation.py
    python benchmarks/scale_simulation.py --sizes 350000000 --images-per-shard 65536 --no-leases
"""

import argparse
import json
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
from xception.data.manifest import Manifest, read_manifest, write_manifest
from xception.data.order import epoch_order
from xception.data.packing import Packing, pack
from xception.data.shards import ShardImages, ShardRecords, open_shards
from xception.data.targets import SparseLabels
from xception.data.transforms import TrainingTransform
from xception.distributed.ledger import Lease, LeaseLedger

SIZES = [1_000_000, 10_000_000, 100_000_000, 350_000_000]
FILES = 4
WORKERS, IMAGES = 60, 32  # the paper's GPUs; images of each in a step, as in the recipe
LOOKUPS = 20  # global batches whose order is looked up
BATCHES = 20  # that one process reads
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

    describe = key


def anonymous_mib() -> float:
    """Anonymous memory of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / MEBIBYTE
    raise RuntimeError("this kernel does not report RssAnon")


def write_shards(folder: Path, images_per_shard: int) -> Manifest:
    """A few files of records, packed as ``xception data pack`` does."""
    count = FILES * images_per_shard
    rng = np.random.default_rng(0)
    labels = [sorted(rng.choice(17_000, 5, replace=False).tolist()) for _ in range(64)]
    return pack(
        Packing(
            DigitFiles(count),
            SparseLabels.from_lists([labels[i % 64] for i in range(count)], 17_000),
            [f"class-{number}" for number in range(17_000)],
            multi_label=True,
            images_per_shard=images_per_shard,
        ),
        folder,
    )


def list_shards(folder: Path, manifest: Manifest, count: int) -> None:
    """A manifest of so many images: the same files, listed again and again."""
    shards = manifest.shards
    per_shard = shards[0].records
    number = count // per_shard
    listed = [shards[i % len(shards)] for i in range(number)]
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


def first_batch(source: ShardImages, samples_seen: int) -> tuple[TrainingLoader, Any, Any]:
    """A process's loader after so many samples, its batches, and the first of them."""
    loader = TrainingLoader(
        source,
        TrainingTransform(size=32, crop="shift"),
        batch_size=WORKERS * IMAGES if len(source) >= WORKERS * IMAGES else IMAGES,
        world_size=WORKERS if len(source) >= WORKERS * IMAGES else 1,
        samples_seen=samples_seen,
    )
    batches = iter(loader)
    return loader, batches, next(batches)


def measure_data(folder: Path, count: int) -> dict[str, Any]:
    """One process of a training run on so many images."""
    torch.set_num_threads(1)
    whole = read_manifest(folder)
    small = Manifest(
        whole.packing, whole.class_names, True, None, whole.shards[:1], whole.images_per_class
    )
    first_batch(ShardImages(ShardRecords(folder, small)), 0)
    shards = len(whole.shards)
    del whole
    epoch_order.cache_clear()
    before = anonymous_mib()
    open_seconds, source = seconds_of(lambda: open_shards(folder, "train"))
    opened = anonymous_mib()
    start_seconds, _ = seconds_of(lambda: first_batch(source, 0))
    epoch_order.cache_clear()
    middle = len(source) // 2
    resume_seconds, (loader, batches, _) = seconds_of(lambda: first_batch(source, middle))
    assert loader.samples_seen // loader.batch_size == middle // loader.batch_size + 1
    ordered = anonymous_mib()
    rng = random.Random(0)
    lookups = []
    order = epoch_order(len(source), 0, 0)
    for _ in range(LOOKUPS):
        start = rng.randrange(len(source) - WORKERS * IMAGES)
        places = range(start, start + WORKERS * IMAGES)
        lookups.append(seconds_of(lambda places=places: [int(order[p]) for p in places])[0])  # type: ignore[misc]
    reads = [seconds_of(lambda: next(batches))[0] for _ in range(BATCHES)]
    return {
        "images": len(source),
        "shards": shards,
        "opened_mib": opened - before,
        "ordered_mib": ordered - before,
        "read_mib": anonymous_mib() - before,
        "state_bytes": len(pickle.dumps(loader.state_dict())),
        "open_seconds": open_seconds,
        "start_ms": start_seconds * 1000,
        "resume_ms": resume_seconds * 1000,
        "order_ms": statistics.median(lookups) * 1000,
        "read_ms": statistics.median(reads) * 1000,
    }


def measure_leases(count: int) -> dict[str, Any]:
    """Every lease of an epoch: workers end in random order, one batch in a hundred goes back."""
    steps = count // IMAGES
    rng = random.Random(0)
    held: list[Lease] = []
    snapshot_bytes = operations = next_look = 0
    before = peak = anonymous_mib()
    start = time.perf_counter()
    ledger = LeaseLedger(steps=steps, steps_per_epoch=steps, batch_size=IMAGES)
    while not ledger.is_finished:
        while len(held) < WORKERS and (lease := ledger.lease(len(held))) is not None:
            held.append(lease)
            operations += 1
        place = int(rng.random() * len(held))
        held[place], held[-1] = held[-1], held[place]
        lease = held.pop()
        if rng.random() < 0.01:
            ledger.put_back(lease)
        else:
            ledger.complete(lease)
        operations += 1
        if operations >= next_look:
            next_look += 20_000
            peak = max(peak, anonymous_mib())
            snapshot_bytes = max(snapshot_bytes, len(pickle.dumps(ledger.snapshot())))
    seconds = time.perf_counter() - start
    slow = LeaseLedger(steps=steps, steps_per_epoch=steps, batch_size=IMAGES)
    slow.lease(0)
    for _ in range(min(28 * 600, steps - 1)):  # a worker that keeps its batch for ten minutes
        lease_after = slow.lease(1)
        assert lease_after is not None
        slow.complete(lease_after)
    return {
        "images": count,
        "steps": steps,
        "operations": operations,
        "seconds": seconds,
        "per_second": operations / seconds,
        "peak_mib": max(peak, anonymous_mib()) - before,
        "snapshot_bytes": snapshot_bytes,
        "slow_snapshot_bytes": len(pickle.dumps(slow.snapshot())),
        "slow_mib": anonymous_mib() - before,
    }


def in_a_fresh_process(*arguments: object) -> dict[str, Any]:
    """What this script measures when it is called with the hidden option ``--measure``."""
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--images-per-shard", type=int, default=4096)
    parser.add_argument("--no-leases", action="store_true")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        kind, *rest = options.measure
        told = (
            measure_leases(int(rest[0]))
            if kind == "leases"
            else measure_data(Path(rest[0]), int(rest[1]))
        )
        print(json.dumps(told))
        return
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}\n"
    )
    print(
        "| images | shards | MiB: manifest | and order, first batch | and 22 batches | "
        "s to open | ms: first batch | ms: first batch, middle | "
        f"ms: order of {WORKERS * IMAGES} | ms: {IMAGES} records read |"
    )
    print("| --- " * 10 + "|")
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        manifest = write_shards(folder, options.images_per_shard)
        for count in options.sizes:
            list_shards(folder, manifest, count)
            r = in_a_fresh_process("data", folder, count)
            print(
                f"| {r['images']:,} | {r['shards']:,} | {r['opened_mib']:.1f} | "
                f"{r['ordered_mib']:.1f} | {r['read_mib']:.1f} | {r['open_seconds']:.2f} | "
                f"{r['start_ms']:.0f} | {r['resume_ms']:.0f} | {r['order_ms']:.1f} | "
                f"{r['read_ms']:.1f} |",
                flush=True,
            )
        print(f"\nloader's state: {r['state_bytes']} bytes pickled")
    if options.no_leases:
        return
    print(
        f"\n| images | leases of {IMAGES} | operations/s | seconds, whole epoch | MiB | "
        "snapshot, bytes | snapshot with one batch held for 10 minutes, bytes | MiB then |"
    )
    print("| --- " * 8 + "|")
    for count in options.sizes:
        r = in_a_fresh_process("leases", count)
        print(
            f"| {count:,} | {r['steps']:,} | {r['per_second']:,.0f} | {r['seconds']:.1f} | "
            f"{r['peak_mib']:.1f} | {r['snapshot_bytes']:,} | {r['slow_snapshot_bytes']:,} | "
            f"{r['slow_mib']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
