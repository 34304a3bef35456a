"""Leases at JFT's size: the ledger of asynchronous training over a whole epoch, time and memory.

Each size is measured in a fresh process: every lease of an epoch is handed out, comes back in
random order, one in a hundred undone; in the middle another ledger goes on from a snapshot.

    python benchmarks/scale_leases.py

Memory is what is private to the process and written to (Private_Dirty in Linux' smaps_rollup), less
what it was before.
"""

import argparse
import json
import pickle
import platform
import random
import time
from typing import Any

from scale_simulation import IMAGES, SIZES, WORKERS, fresh_process, private_mib, row, seconds_of

from xception.distributed.ledger import Lease, LeaseLedger

SLOW_SECONDS, UPDATES = 600, 28  # a worker that keeps its batch so long; updates per second


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
        found = fresh_process(__file__, "--measure", size)
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
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure_leases(options.measure)))
        return
    print(f"Python {platform.python_version()}\n")
    tell_leases(options.sizes)


if __name__ == "__main__":
    main()
