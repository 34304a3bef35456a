"""What a parameter server can do here: updates and bytes per second, without any transport.

A server holds a slice of one of the JFT networks (55.6 or 115.6 million parameters), with RMSprop
and the Polyak average, and applies gradients as `xception.distributed.shard` does.

    OMP_NUM_THREADS=2 python benchmarks/asynchronous_updates.py
"""

import argparse
import platform
import statistics
import time

import torch

from xception.distributed.layout import ShardPlan, Values
from xception.distributed.shard import PRECISIONS, ParameterShard, Push, Verdict
from xception.training.optimizers import OPTIMIZERS

NETWORKS = {"jft-xception": 55_600_000, "jft-xception-fc": 115_600_000}


def measure(size: int, precision: str, rounds: int) -> tuple[float, float]:
    """Median seconds of a pull and of a push of so many parameters."""
    nothing = torch.zeros(0)
    plan = ShardPlan(0, ((size, 0),), ({"weight_decay": 1e-5},), nothing, 0)
    values = Values(torch.randn(size), nothing, torch.zeros(0, dtype=torch.int64))
    server = ParameterShard(
        plan,
        values,
        build_optimizer=OPTIMIZERS["rmsprop"],
        learning_rate=lambda step: 0.001,
        polyak_decay=0.9999,
    )
    gradient = torch.randn(size).to(PRECISIONS[precision])
    pulls, pushes = [], []
    for number in range(rounds + 1):  # one to warm up
        start = time.perf_counter()
        pulled = server.pull()
        middle = time.perf_counter()
        push = Push(number, pulled.version, 0, gradient, nothing, nothing, values.counters)
        verdict = server.push(push)
        end = time.perf_counter()
        assert verdict is Verdict.APPLIED
        if number:
            pulls.append(middle - start)
            pushes.append(end - middle)
    return statistics.median(pulls), statistics.median(pushes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {threads} threads\n")
    print(
        "| network | slice of | parameters | gradient | bytes of one | pull, ms | push, ms | "
        "pushes/s | gradient GB/s |"
    )
    print("| --- " * 9 + "|")
    for name, size in NETWORKS.items():
        for shards, precision in ((1, "float32"), (1, "bfloat16"), (8, "float32")):
            part = size // shards
            pull, push = measure(part, precision, options.rounds)
            bytes_ = part * PRECISIONS[precision].itemsize
            print(
                f"| {name} | {shards} | {part:,} | {precision} | {bytes_:,} | {1000 * pull:.0f} | "
                f"{1000 * push:.0f} | {1 / push:.1f} | {bytes_ / push / 1e9:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
