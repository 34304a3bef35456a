"""A synchronous run on a Ray cluster, through Ray Train: Lightning's step on Ray's workers.

Ray places one worker for each process, connects them (gloo or NCCL) and starts the run again when
a worker is lost; from where, the newest checkpoint in the run's directory says. That directory and
the data must be seen by all workers under the same path.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xception.distributed.ray_connection import connection, reserve
from xception.errors import InputError, RunFailedError, count_of

Function = Callable[[dict[str, Any], dict[str, Any]], None]


@dataclass(frozen=True)
class Resources:
    """What is asked of the cluster.

    Attributes:
        workers: Training processes.
        cpus: CPU cores of each.
        gpus: GPUs of each: 0 or 1.

    Raises:
        InputError: A number is out of range.
    """

    workers: int
    cpus: int = 1
    gpus: int = 0

    def __post_init__(self) -> None:
        if self.workers < 1 or self.cpus < 1:
            raise InputError(
                f"--workers is {self.workers} and --cpus-per-worker {self.cpus}; both must be at "
                "least 1"
            )
        if self.gpus not in (0, 1):
            raise InputError(f"--gpus-per-worker is {self.gpus}; a worker has one GPU, or none")

    def per_worker(self) -> dict[str, float]:
        """As Ray counts them."""
        found = {"CPU": float(self.cpus), "GPU": float(self.gpus)}
        return {name: count for name, count in found.items() if count}


def train_on_ray(
    function: Function,
    settings: dict[str, Any],
    wanted: Resources,
    *,
    address: str = "local",
    max_failures: int = 3,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Runs a function on every worker of a Ray Train group, and waits for its end.

    Args:
        function: Gets ``settings`` and the arguments that Lightning's Trainer needs there; the
            workers import it, so it is a module's.
        settings: Primitives.
        wanted: Workers and what each of them has.
        address: ``auto``, ``HOST:PORT``, or ``local`` for a cluster of this machine alone.
        max_failures: How often the group is started again after a worker was lost.
        before: Called when the resources are there, and nothing has started yet.

    Raises:
        InputError: Ray is not installed, no cluster answers, or it has less than is asked for.
        RunFailedError: The run failed on a worker, more often than ``max_failures``.
    """
    with connection(address, "--ray-address") as ray:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError

        require_resources(ray, wanted)
        before()
        trainer = TorchTrainer(
            _on_worker,
            train_loop_config={"function": function, "settings": settings},
            torch_config=TorchConfig(backend="nccl" if wanted.gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=wanted.workers,
                use_gpu=bool(wanted.gpus),
                resources_per_worker=wanted.per_worker(),
            ),
            run_config=RunConfig(
                name=f"xception-{os.getpid()}",
                storage_path=str(settings["directory"]) + "/ray",
                failure_config=FailureConfig(max_failures=max_failures),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise _told(error) from None


def require_resources(ray: Any, wanted: Resources) -> None:
    """Makes sure that all workers fit on the cluster, at the same time, now.

    Args:
        ray: The connected library.
        wanted: What they need.

    Raises:
        InputError: They do not.
    """
    group = reserve(
        ray,
        [wanted.per_worker()] * wanted.workers,
        asked=count_of(wanted.workers, "worker"),
        advice="ask for fewer --workers, or add machines to the cluster",
    )
    from ray.util import remove_placement_group

    remove_placement_group(group)  # Ray Train reserves for itself


def _on_worker(config: dict[str, Any]) -> None:
    """Runs on every worker: Ray has connected them already."""
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    function: Function = config["function"]
    function(
        config["settings"],
        {
            "strategy": RayDDPStrategy(),
            "plugins": [RayLightningEnvironment()],
            "devices": "auto",
            "num_nodes": 1,
        },
    )


def _told(error: Exception) -> Exception:
    """What a worker's failure is to the user: its own sentence where it has one."""
    reasons = list(getattr(error, "worker_failures", {}).values())
    for reason in reasons:
        cause = getattr(reason, "cause", reason)
        for kind in (InputError, RunFailedError):
            if isinstance(cause, kind) or type(cause).__name__.endswith(f"({kind.__name__})"):
                return kind(" ".join(str(cause).split()))
    first = " ".join(str(reasons[0] if reasons else error).split())[-300:]
    return RunFailedError(f"the run failed on the Ray cluster: {first}")
