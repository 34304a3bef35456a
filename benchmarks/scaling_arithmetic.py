"""From one machine to 60 and 1,000 GPUs: the arithmetic behind docs/scaling.md.

Every function is a formula of that page; `page_tables` prints its tables, and a test holds the page
against them. No network and no GPU was at hand: `ASSUMED` names what was not measured.

    python benchmarks/scaling_arithmetic.py
"""

import math
from dataclasses import dataclass

# Counted from the live networks (a test does so again).
NETWORKS = {"jft-xception": 55_639_952, "jft-xception-fc": 115_629_968}
IMAGES = 350_000_000
FLOAT32, BFLOAT16 = 4, 2  # bytes

# Measured; docs/scaling.md names the files.
IMAGE_BYTES = {"as it is": 110_078, "short side 342, quality 90": 60_949}
DECODED_PER_CORE = 412  # images/s: crop, flip and colours, exact decoding

ASSUMED = {
    "failure of a GPU": "one in 50,700 hours: 419 unexpected interruptions of 16,384 GPUs in 54 "
    "days (the Llama 3 report, section 3.3.4)",
    "use of a network": "0.7 of its nominal rate",
}
GPU_HOURS_TO_FAILURE = 54 * 24 * 16_384 / 419
NETWORK_USE = 0.7


@dataclass(frozen=True)
class Cluster:
    """Some GPUs.

    Attributes:
        name: What tables call it.
        gpus: How many.
        images_per_second: That one GPU trains on.
        batch: Images of one GPU in a step.
        network: Nominal bytes per second, each way, for a GPU or for a server.
    """

    name: str
    gpus: int
    images_per_second: float
    batch: int
    network: float

    @property
    def images(self) -> float:
        """Images per second, all GPUs."""
        return self.gpus * self.images_per_second

    @property
    def updates(self) -> float:
        """Gradients per second, all GPUs, where none waits for another."""
        return self.images / self.batch


# Table 3 of the paper: 28 updates per second with 60 GPUs; read as all of them together.
PAPER = Cluster("60 K80", 60, 28 * 32 / 60, 32, 10e9 / 8)
CLUSTERS = [
    Cluster("1 GPU", 1, 2000, 256, 50e9 / 8),
    PAPER,
    Cluster("60 GPUs", 60, 2000, 256, 50e9 / 8),
    Cluster("1,000 GPUs", 1000, 2000, 256, 50e9 / 8),
]


def data_bytes(cluster: Cluster, image_bytes: int) -> float:
    """Bytes of image files per second that all GPUs read."""
    return cluster.images * image_bytes


def decode_cores(cluster: Cluster) -> float:
    """CPU cores for one GPU that do nothing but decode and augment."""
    return cluster.images_per_second / DECODED_PER_CORE


def ring_bytes(parameters: int, gpus: int, width: int = FLOAT32) -> float:
    """Bytes that each GPU sends, and receives, in the ring all-reduce of one step."""
    return 2 * (gpus - 1) / gpus * parameters * width


def ring_seconds(parameters: int, cluster: Cluster, width: int = FLOAT32) -> float:
    """Seconds of that all-reduce where nothing else runs, latency left out."""
    return ring_bytes(parameters, cluster.gpus, width) / (NETWORK_USE * cluster.network)


def step_seconds(cluster: Cluster) -> float:
    """Seconds of computation in a step."""
    return cluster.batch / cluster.images_per_second


def pull_bytes(parameters: int, cluster: Cluster) -> float:
    """Bytes per second that all parameter servers send: float32 parameters."""
    return cluster.updates * parameters * FLOAT32


def push_bytes(parameters: int, cluster: Cluster, width: int) -> float:
    """Bytes per second that all parameter servers receive: gradients."""
    return cluster.updates * parameters * width


def workers_per_server(parameters: int, cluster: Cluster) -> float:
    """Workers that saturate the network of a single server (the pulls, the wider direction)."""
    return NETWORK_USE * cluster.network / (pull_bytes(parameters, cluster) / cluster.gpus)


def servers_for_network(bytes_per_second: float, cluster: Cluster) -> int:
    """Servers whose networks carry so many bytes per second in one direction."""
    return math.ceil(bytes_per_second / (NETWORK_USE * cluster.network))


def servers_for_updates(parameters: int, cluster: Cluster, seconds_per_parameter: float) -> int:
    """Servers that apply the gradients, each of two cores."""
    return math.ceil(cluster.updates * parameters * seconds_per_parameter)


def checkpoint_bytes(parameters: int) -> int:
    """Parameters, momentum, mean square and Polyak average."""
    return 4 * FLOAT32 * parameters


def hours_to_failure(gpus: int) -> float:
    """Mean hours until one of the GPUs fails."""
    return GPU_HOURS_TO_FAILURE / gpus


def best_interval(write_seconds: float, gpus: int) -> float:
    """Seconds between checkpoints that lose the least: sqrt(2 x write x time to failure), Young."""
    return math.sqrt(2 * write_seconds * hours_to_failure(gpus) * 3600)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Lines of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def amount(bytes_: float) -> str:
    """Bytes with a unit.

    Example:
        >>> amount(6_231_674_624)
        '6.2 GB'
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if bytes_ >= size:
            return f"{bytes_ / size:,.{0 if bytes_ >= 100 * size else 1}f} {unit}"
    return f"{bytes_ / 1e3:.1f} kB"


def page_tables() -> dict[str, str]:
    """The tables of the page, by name."""
    multiple = [cluster for cluster in CLUSTERS if cluster.gpus > 1]
    clusters = table(
        ["", "images/s of a GPU", "images of a GPU in a step", "network of a GPU or server"],
        [
            [
                c.name,
                f"{c.images_per_second:,.0f}",
                str(c.batch),
                f"{c.network * 8 / 1e9:.0f} Gbit/s each way",
            ]
            for c in CLUSTERS
        ],
    )
    data = table(
        [
            "",
            "images/s",
            *(f"files {kind}" for kind in IMAGE_BYTES),
            "decode cores a GPU",
            "in all",
        ],
        [
            [
                c.name,
                f"{c.images:,.0f}",
                *(f"{amount(data_bytes(c, size))}/s" for size in IMAGE_BYTES.values()),
                f"{decode_cores(c):.2f}",
                f"{math.ceil(decode_cores(c) * c.gpus):,}",
            ]
            for c in CLUSTERS
        ],
    )
    synchronous = table(
        ["network", "", "each GPU sends a step", "all-reduce", "computation", "share"],
        [
            [
                name,
                c.name,
                amount(ring_bytes(size, c.gpus)),
                f"{1000 * ring_seconds(size, c):,.0f} ms",
                f"{1000 * step_seconds(c):,.0f} ms",
                f"{ring_seconds(size, c) / step_seconds(c):.0%}",
            ]
            for name, size in NETWORKS.items()
            for c in multiple
        ],
    )
    asynchronous = table(
        [
            "network",
            "",
            "updates/s",
            "pulled",
            "pushed, float32",
            "pushed, bfloat16",
            "workers that fill one server's network",
            "servers for the pulls",
            "for the pushes, float32",
            "bfloat16",
        ],
        [
            [
                name,
                c.name,
                f"{c.updates:,.0f}",
                f"{amount(pull_bytes(size, c))}/s",
                f"{amount(push_bytes(size, c, FLOAT32))}/s",
                f"{amount(push_bytes(size, c, BFLOAT16))}/s",
                f"{workers_per_server(size, c):.1f}",
                f"{servers_for_network(pull_bytes(size, c), c):,}",
                f"{servers_for_network(push_bytes(size, c, FLOAT32), c):,}",
                f"{servers_for_network(push_bytes(size, c, BFLOAT16), c):,}",
            ]
            for name, size in NETWORKS.items()
            for c in multiple
        ],
    )
    checkpoints = table(
        ["network", "", "size", "written at 1 GB/s", "a GPU fails every", "best interval"],
        [
            [
                name,
                c.name,
                amount(checkpoint_bytes(size)),
                f"{checkpoint_bytes(size) / 1e9:.1f} s",
                f"{hours_to_failure(c.gpus):,.0f} h",
                f"{best_interval(checkpoint_bytes(size) / 1e9, c.gpus) / 60:.0f} min",
            ]
            for name, size in NETWORKS.items()
            for c in (PAPER, CLUSTERS[-1])
        ],
    )
    return {
        "clusters": clusters,
        "data": data,
        "synchronous": synchronous,
        "asynchronous": asynchronous,
        "checkpoints": checkpoints,
    }


def main() -> None:
    for name, lines in page_tables().items():
        print(f"<!-- {name} -->\n{lines}\n")


if __name__ == "__main__":
    main()
