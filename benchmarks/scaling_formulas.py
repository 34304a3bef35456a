"""From one machine to 60 and 1,000 GPUs: the formulas of docs/scaling.md and what goes into them.

No network and no GPU was at hand: what was not measured is said to be assumed.
"""

import math
from dataclasses import dataclass

# Counted from the live networks (a test does so again).
NETWORKS = {"jft-xception": 55_639_952, "jft-xception-fc": 115_629_968}
IMAGES = 350_000_000
FLOAT32, BFLOAT16 = 4, 2  # bytes

# Measured; docs/scaling.md names commands and files.
IMAGE_BYTES = {"as they are": 110_078, "short side 342": 60_949}
DECODED_PER_CORE = 504  # images/s: crop, flip and colours, exact decoding
UPDATE_SECONDS = 4e-9  # a parameter, through Ray, server and workers on two cores; 3 to 5 measured

# Assumed.
NETWORK_USE = 0.7  # of the nominal rate
STORE = 20e9  # bytes per second that one shared store delivers
CORES = 12  # CPU cores for a GPU
WRITTEN = 1e9  # bytes per second of a checkpoint
# The Llama 3 report, section 3.3.4: 419 unexpected interruptions of 16,384 GPUs in 54 days.
GPU_HOURS_TO_FAILURE = 54 * 24 * 16_384 / 419


@dataclass(frozen=True)
class Cluster:
    """Some GPUs.

    Attributes:
        name: What tables call it.
        gpus: How many.
        gpus_per_machine: Of them in a machine.
        images_per_second: That one GPU trains on.
        batch: Images of one GPU in a step.
        network: Nominal bytes per second of a machine, each way; a parameter server has as much.
    """

    name: str
    gpus: int
    gpus_per_machine: int
    images_per_second: float
    batch: int
    network: float

    @property
    def machines(self) -> int:
        """Machines that hold the GPUs."""
        return math.ceil(self.gpus / self.gpus_per_machine)

    @property
    def images(self) -> float:
        """Images per second, all GPUs."""
        return self.gpus * self.images_per_second

    @property
    def updates(self) -> float:
        """Gradients per second, all GPUs, where none waits for another."""
        return self.images / self.batch

    @property
    def carried(self) -> float:
        """Bytes per second that a machine's network really carries, each way."""
        return NETWORK_USE * self.network


# Table 3 of the paper: 28 updates per second with 60 GPUs; read as all of them together, each of 32
# images.
PAPER = Cluster("60 K80", 60, 1, 28 * 32 / 60, 32, 10e9 / 8)
CLUSTERS = [
    Cluster("1 GPU", 1, 1, 2000, 256, 400e9 / 8),
    PAPER,
    Cluster("60 GPUs", 60, 8, 2000, 256, 400e9 / 8),
    Cluster("1,000 GPUs", 1000, 8, 2000, 256, 400e9 / 8),
]


def data_bytes(cluster: Cluster, image_bytes: int) -> float:
    """Bytes of image files per second that all GPUs read."""
    return cluster.images * image_bytes


def epoch_hours(cluster: Cluster) -> float:
    """Hours in which all GPUs see every image once."""
    return IMAGES / cluster.images / 3600


def decode_cores(cluster: Cluster) -> float:
    """CPU cores for one GPU that do nothing but decode and augment."""
    return cluster.images_per_second / DECODED_PER_CORE


def reduce_bytes(parameters: int, machines: int, width: int = FLOAT32) -> float:
    """Bytes that each machine sends, and receives, in the ring all-reduce of one step.

    The GPUs of a machine add up their gradients among themselves first.
    """
    return 2 * (machines - 1) / machines * parameters * width


def reduce_seconds(parameters: int, cluster: Cluster, width: int = FLOAT32) -> float:
    """Seconds of that all-reduce where nothing else runs, latency left out."""
    return reduce_bytes(parameters, cluster.machines, width) / cluster.carried


def step_seconds(cluster: Cluster) -> float:
    """Seconds of computation in a step."""
    return cluster.batch / cluster.images_per_second


def moved_bytes(parameters: int, cluster: Cluster, width: int) -> float:
    """Bytes per second in one direction between all workers and all parameter servers."""
    return cluster.updates * parameters * width


def workers_per_server(parameters: int, cluster: Cluster, width: int = FLOAT32) -> float:
    """Workers that saturate one direction of a single server's network."""
    return cluster.carried / (moved_bytes(parameters, cluster, width) / cluster.gpus)


def servers_for_network(parameters: int, cluster: Cluster, width: int) -> int:
    """Servers whose networks carry one direction."""
    return math.ceil(moved_bytes(parameters, cluster, width) / cluster.carried)


def servers_for_updates(parameters: int, cluster: Cluster) -> int:
    """Servers of two cores that apply the gradients."""
    return math.ceil(cluster.updates * parameters * UPDATE_SECONDS)


def checkpoint_bytes(parameters: int) -> int:
    """Parameters, momentum, mean square and Polyak average."""
    return 4 * FLOAT32 * parameters


def hours_to_failure(gpus: int) -> float:
    """Mean hours until the next unexpected interruption."""
    return GPU_HOURS_TO_FAILURE / gpus


def best_interval(write_seconds: float, gpus: int) -> float:
    """Seconds between checkpoints that lose the least: sqrt(2 x write x time to failure), Young."""
    return math.sqrt(2 * write_seconds * hours_to_failure(gpus) * 3600)


def lost_share(write_seconds: float, gpus: int) -> float:
    """Share of the time that such checkpoints and the work done again after failures take."""
    interval = best_interval(write_seconds, gpus)
    return write_seconds / interval + interval / 2 / (hours_to_failure(gpus) * 3600)


def uses(cluster: Cluster) -> dict[str, float]:
    """What is asked for over what there is, by resource; above 1, training waits for it."""
    smaller, larger = NETWORKS.values()
    local = data_bytes(cluster, IMAGE_BYTES["short side 342"]) / cluster.machines
    return {
        "CPU cores for decoding": decode_cores(cluster) / CORES,
        "the machine's network: images": local / cluster.carried,
        "one shared store: images as they are": data_bytes(cluster, IMAGE_BYTES["as they are"])
        / STORE,
        "one shared store: short side 342": data_bytes(cluster, IMAGE_BYTES["short side 342"])
        / STORE,
        "the network: all-reduce, float32": reduce_seconds(smaller, cluster)
        / step_seconds(cluster),
        "the same with fully-connected layers": reduce_seconds(larger, cluster)
        / step_seconds(cluster),
        "one parameter server's network": moved_bytes(smaller, cluster, FLOAT32) / cluster.carried,
        "the same with fully-connected layers ": moved_bytes(larger, cluster, FLOAT32)
        / cluster.carried,
        "one parameter server's two cores": cluster.updates * smaller * UPDATE_SECONDS,
    }
