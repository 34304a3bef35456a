"""Order, resume, shards and leases at JFT's size: memory of a process and time, against the size.

A few real ArrayRecord files of small images are written; a manifest lists them again and again, so
that up to 350,000,000 index entries share their records. Every row is measured in fresh processes.

    OMP_NUM_THREADS=1 python benchmarks/scale_simulation.py data
    OMP_NUM_THREADS=1 python benchmarks/scale_simulation.py data --images-per-shard 65536
    python benchmarks/scale_simulation.py leases

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
from xception.distributed.ledger import Lease, LeaseLedger

SIZES = [1_000_000, 10_000_000, 100_000_000, 350_000_000]
FILES = 4
CLASSES, LABELS = 17_000, 5
WORKERS, IMAGES = 60, 32  # the paper's GPUs; images of each in a step, as in the recipe
BATCHES = (10, 60)  # after so many of a process its memory is looked at
BASE_BATCHES = 4  # the same for the set of four files, which has no more
LOOKUPS = 20  # global batches whose order is looked up
SLOW_SECONDS, UPDATES = 600, 28  # a worker that keeps its batch so long; updates per second
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


def measure_leases(count: int) -> dict[str, Any]:
    """Every lease of an epoch: workers end in random order, one batch in a hundred goes back.

    In the middle, the ledger is thrown away and another one goes on from its snapshot.
    """
    steps = count // IMAGES
    rng = random.Random(0)
    held: list[Lease] = []
    snapshot_bytes = operations = next_look = completed = 0
    restore_ms = -1.0
    before = peak = private_mib()
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
            completed += ledger.complete(lease)
        operations += 1
        if operations >= next_look:
            next_look += 20_000
            peak = max(peak, private_mib())
            snapshot_bytes = max(snapshot_bytes, len(pickle.dumps(ledger.snapshot())))
        if restore_ms < 0 and completed >= steps // 2:
            stored = pickle.dumps(ledger.snapshot())
            ledger = LeaseLedger(steps=steps, steps_per_epoch=steps, batch_size=IMAGES)
            spent, _ = seconds_of(lambda: ledger.restore(pickle.loads(stored)))  # noqa: B023
            restore_ms = 1000 * spent
            assert not any(ledger.complete(old) for old in held), "a lease outlived its ledger"
            held.clear()
    seconds = time.perf_counter() - start
    assert completed == steps, "every batch is done once"
    return {
        "images": count,
        "steps": steps,
        "operations": operations,
        "seconds": seconds,
        "mib": max(peak, private_mib()) - before,
        "snapshot_bytes": snapshot_bytes,
        "restore_ms": restore_ms,
        **measure_slow_worker(steps),
    }


def measure_slow_worker(steps: int) -> dict[str, Any]:
    """One worker keeps the first batch while the others do all of ten minutes."""
    before = private_mib()
    ledger = LeaseLedger(steps=steps, steps_per_epoch=steps, batch_size=IMAGES)
    ledger.lease(0)
    for _ in range(min(UPDATES * SLOW_SECONDS, steps - 1)):
        lease = ledger.lease(1)
        assert lease is not None
        ledger.complete(lease)
    stored = pickle.dumps(ledger.snapshot())
    again = LeaseLedger(steps=steps, steps_per_epoch=steps, batch_size=IMAGES)
    again.restore(pickle.loads(stored))
    waiting = again.lease(2)
    assert waiting is not None
    assert waiting.number == 0, "the slow worker's batch is handed out first"
    return {"slow_bytes": len(stored), "slow_mib": private_mib() - before}


def in_a_fresh_process(*what: object) -> dict[str, Any]:
    """The figures of one measurement, made by a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "measure", *map(str, what)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


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
                in_a_fresh_process("loader", folder, method) for method in ("spawn", "fork")
            )
            one = in_a_fresh_process("alone", folder)
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


def tell_leases(sizes: list[int]) -> None:
    """The table of leases."""
    row(
        "images",
        f"leases of {IMAGES}",
        "s, whole epoch",
        "operations/s",
        "MiB",
        "snapshot, bytes at most",
        "ms to restore in the middle",
        f"snapshot, one batch held for {SLOW_SECONDS} s",
        "MiB then",
    )
    row(*["---"] * 9)
    for size in sizes:
        found = in_a_fresh_process("leases", size)
        row(
            f"{size:,}",
            f"{found['steps']:,}",
            f"{found['seconds']:.1f}",
            f"{found['operations'] / found['seconds']:,.0f}",
            f"{found['mib']:.1f}",
            f"{found['snapshot_bytes']:,}",
            f"{found['restore_ms']:.2f}",
            f"{found['slow_bytes']:,}",
            f"{found['slow_mib']:.1f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("what", choices=["data", "leases", "measure"])
    parser.add_argument("measurement", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--images-per-shard", type=int, default=4096)
    options = parser.parse_args()
    if options.what == "measure":
        torch.set_num_threads(1)
        kind, *rest = options.measurement
        if kind == "leases":
            print(json.dumps(measure_leases(int(rest[0]))))
        elif kind == "alone":
            print(json.dumps(measure_one_process(Path(rest[0]))))
        else:
            print(json.dumps(measure_loader_process(Path(rest[0]), rest[1])))
        return
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}\n"
    )
    if options.what == "data":
        tell_data(options.sizes, options.images_per_shard)
    else:
        tell_leases(options.sizes)


if __name__ == "__main__":
    main()
