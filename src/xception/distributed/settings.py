"""The recipe's keys of asynchronous training: ``asynchronous.*``."""

from dataclasses import dataclass
from typing import Literal

from xception.errors import InputError

MOST_JITTER = 2.0


@dataclass
class AsynchronousKeys:
    """Asynchronous gradient descent through parameter servers, as the paper trained on JFT.

    Args:
        workers: Processes that compute gradients without waiting for one another. 0: synchronous
            training, and no other key here counts.
        shards: Parameter servers; each holds an equal slice of the parameters.
        engine: "ray" runs workers and servers as processes of a Ray cluster. "simulator" runs them
            one after the other in this process, in simulated time: the same result every time.
        max_staleness: The most updates between a gradient's weights and its own update; null: any.
        when_stale: A gradient above max_staleness: "drop" throws it away and its batch is computed
            again; "wait" makes fast workers wait, so that there is none.
        staleness_aware: Whether the learning rate of an update is divided by its staleness.
        gradient_precision: In which a gradient travels to the servers; they compute in float32.
        jitter: Simulator: spread of the workers' times, the standard deviation of their logarithm.
        ray_address: The cluster: "auto", HOST:PORT, or "local" for one on this machine alone.
        cpus_per_worker: CPU cores of each worker; they may be shares of one.
        gpus_per_worker: GPUs of each worker: 0 or 1.
        cpus_per_shard: CPU cores reserved for each server; 0: it shares those of the workers.
        max_restarts: How many lost workers and servers are replaced before the run stops.
        lease_seconds: A worker that has its batch for longer is stopped and replaced; null: never.
    """

    workers: int = 0
    shards: int = 1
    engine: Literal["ray", "simulator"] = "ray"
    max_staleness: int | None = None
    when_stale: Literal["drop", "wait"] = "drop"
    staleness_aware: bool = False
    gradient_precision: Literal["float32", "bfloat16", "float16"] = "float32"
    jitter: float = 0.0
    ray_address: str = "local"
    cpus_per_worker: float = 1.0
    gpus_per_worker: int = 0
    cpus_per_shard: float = 0.0
    max_restarts: int = 100
    lease_seconds: float | None = 600.0

    def check(self) -> None:
        """Looks at the values.

        Raises:
            InputError: One is out of its range.
        """
        least = {"workers": 0, "shards": 1, "jitter": 0, "max_restarts": 0}
        least |= {"cpus_per_worker": 0, "cpus_per_shard": 0}
        if self.max_staleness is not None:
            least["max_staleness"] = 0
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise InputError(
                    f"asynchronous.{name} is {getattr(self, name)}; it must be at least {bound}"
                )
        if self.jitter > MOST_JITTER:
            raise InputError(
                f"asynchronous.jitter is {self.jitter}; it must be at most {MOST_JITTER}: a worker "
                "that is then slow by one standard deviation takes seven times as long as another"
            )
        if self.gpus_per_worker not in (0, 1):
            raise InputError(
                f"asynchronous.gpus_per_worker is {self.gpus_per_worker}; a worker has one GPU, "
                "or none"
            )
        if self.lease_seconds is not None and not self.lease_seconds > 0:
            raise InputError(
                f"asynchronous.lease_seconds is {self.lease_seconds}; it must be above 0, or null"
            )
