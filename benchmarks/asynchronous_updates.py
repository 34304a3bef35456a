"""What parameter servers do here: updates and bytes per second, alone and as processes of Ray.

    python benchmarks/asynchronous_updates.py --only alone
    python benchmarks/asynchronous_updates.py --only ray

"alone": a server in this process, no transport: the cost of a push, and of copying the parameters
for a pull; beside it, in turns, RMSprop and the Polyak average by themselves. "ray": the same
server as a Ray process, with workers that pull, make a gradient in no time, and push, as fast as
they can; what they wait for is transport and the server. Server and workers are those of
`xception.distributed`. Where a machine with a network is used, --ray-address names the cluster; a
local one listens on loopback alone.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from xception.distributed.layout import ShardPlan, Values
from xception.distributed.ray_connection import connection
from xception.distributed.ray_processes import ServerProcess
from xception.distributed.ray_tensors import register
from xception.distributed.shard import PRECISIONS, ParameterShard, Push, Verdict
from xception.training.memory import keep_freed_memory
from xception.training.optimizers import OPTIMIZERS
from xception.training.polyak import PolyakAverage

NETWORKS = {
    "small": 1_000_000,
    "xception": 22_900_000,
    "jft-xception": 55_600_000,
    "jft-xception-fc": 115_600_000,
}
NOTHING = torch.zeros(0)
NO_COUNTERS = torch.zeros(0, dtype=torch.int64)


def learning_rate(step: int) -> float:
    return 0.001


def server_arguments(size: int, index: int = 0) -> dict[str, Any]:
    """Of a server with so many parameters."""
    return {
        "plan": ShardPlan(index, ((size, 0),), ({"weight_decay": 1e-5},), NOTHING, 0),
        "values": Values(torch.randn(size), NOTHING, NO_COUNTERS),
        "build_optimizer": OPTIMIZERS["rmsprop"],
        "learning_rate": learning_rate,
        "polyak_decay": 0.9999,
    }


def arithmetic(size: int) -> Callable[[], None]:
    """An update without a server: optimizer and average of one vector, whose gradient is there."""
    parameter = nn.Parameter(torch.randn(size))
    parameter.grad = torch.randn(size)
    optimizer = OPTIMIZERS["rmsprop"]([{"params": [parameter], "weight_decay": 1e-5}])
    average = PolyakAverage(0.9999)
    average.start({"parameters": parameter})

    def update() -> None:
        optimizer.step()
        average.update({"parameters": parameter})

    return update


def alone(size: int, precision: str, rounds: int) -> tuple[float, float, float]:
    """Median seconds of a pull and of a push, without transport, and of the arithmetic alone."""
    server, update = ParameterShard(**server_arguments(size)), arithmetic(size)
    gradient = torch.randn(size).to(PRECISIONS[precision])
    pulls, pushes, updates = [], [], []
    for number in range(rounds + 1):  # one to warm up
        start = time.perf_counter()
        pulled = server.pull()
        middle = time.perf_counter()
        verdict = server.push(
            Push(number, pulled.version, 0, gradient, NOTHING, NOTHING, NO_COUNTERS)
        )
        pushed = time.perf_counter()
        update()
        end = time.perf_counter()
        assert verdict is Verdict.APPLIED
        if number:
            pulls.append(middle - start)
            pushes.append(pushed - middle)
            updates.append(end - pushed)
    return statistics.median(pulls), statistics.median(pushes), statistics.median(updates)


class Pusher:
    """A worker whose gradient is there at once."""

    def __init__(self, servers: list[Any], precision: str) -> None:
        import ray

        self.ray, self.servers = ray, servers
        self.dtype = PRECISIONS[precision]
        register(ray)

    def work(self, worker: int, seconds: float) -> list[tuple[float, float]]:
        """Seconds of each pull and of each push, for so long."""
        times = []
        end, number = time.perf_counter() + seconds, worker
        while time.perf_counter() < end:
            start = time.perf_counter()
            pulled = self.ray.get([server.pull.remote() for server in self.servers])
            middle = time.perf_counter()
            gradients = [one.values.parameters.to(self.dtype) for one in pulled]
            made = time.perf_counter()
            pushes = [
                Push(number, one.version, 0, gradient, NOTHING, NOTHING, NO_COUNTERS)
                for one, gradient in zip(pulled, gradients, strict=True)
            ]
            refs = [s.push.remote(push) for s, push in zip(self.servers, pushes, strict=True)]
            assert all(verdict == "applied" for verdict in self.ray.get(refs))
            times.append((middle - start, time.perf_counter() - made))
            number += 1000
        return times


def on_ray(
    ray: Any, size: int, precision: str, workers: int, shards: int, seconds: float
) -> tuple[float, float, float]:
    """Updates per second, and the median seconds of a pull and of a push."""
    new_server = ray.remote(num_cpus=0)(ServerProcess)
    new_worker = ray.remote(num_cpus=0)(Pusher)
    servers = [new_server.remote(server_arguments(size // shards, i), True) for i in range(shards)]
    pushers = [new_worker.remote(servers, precision) for _ in range(workers)]
    ray.get([pusher.work.remote(i, 0.01) for i, pusher in enumerate(pushers)])  # all are there
    start = time.perf_counter()
    found = ray.get([p.work.remote((i + 1) * 1_000_000, seconds) for i, p in enumerate(pushers)])
    elapsed = time.perf_counter() - start
    times = [pair for one in found for pair in one]
    for process in (*servers, *pushers):
        ray.kill(process)
    pull, push = (statistics.median(column) for column in zip(*times, strict=True))
    return len(times) / elapsed, pull, push


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--only", choices=("alone", "ray"), required=True)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--shards", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--ray-address", default="local")
    options = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {threads} threads\n")
    if options.only == "alone":
        keep_freed_memory()  # as a server's process does
        table(
            *("network", "parameters", "gradient", "pull, ms", "push, ms", "pushes/s"),
            *("ns a parameter", "RMSprop and average alone, ms"),
        )
        for name in options.networks:
            for precision in options.precisions:
                size = NETWORKS[name]
                pull, push, update = alone(size, precision, options.rounds)
                row(
                    *(name, f"{size:,}", precision, *ms(pull, push), f"{1 / push:.1f}"),
                    *(f"{1e9 * push / size:.2f}", *ms(update)),
                )
        return
    with connection(options.ray_address, "--ray-address") as ray:
        register(ray)
        print(f"Ray {ray.__version__}\n")
        table(
            *("network", "gradient", "servers", "workers", "updates/s", "pull, ms", "push, ms"),
            *("MB per update", "GB/s"),
        )
        for name in options.networks:
            size = NETWORKS[name]
            for precision in options.precisions:
                for shards in options.shards:
                    for workers in options.workers:
                        rate, pull, push = on_ray(
                            ray, size, precision, workers, shards, options.seconds
                        )
                        moved = size * (4 + PRECISIONS[precision].itemsize)
                        row(
                            *(name, precision, shards, workers, f"{rate:.2f}", *ms(pull, push)),
                            *(f"{moved / 1e6:.0f}", f"{rate * moved / 1e9:.2f}"),
                        )


def ms(*seconds: float) -> list[str]:
    return [f"{1000 * one:.0f}" for one in seconds]


def table(*names: str) -> None:
    row(*names)
    row(*("---" for _ in names))


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
