"""Which cores and GPUs of a Ray cluster the processes of an asynchronous run get."""

from typing import Any

from xception.distributed.ray_connection import reserve
from xception.distributed.settings import AsynchronousKeys
from xception.errors import count_of


class Placement:
    """Resources that are reserved for all processes before the first one starts.

    Args:
        ray: The connected library.
        keys: How many processes, and what each needs.

    Raises:
        InputError: The cluster has less.
    """

    def __init__(self, ray: Any, keys: AsynchronousKeys) -> None:
        self._keys = keys
        each = {"CPU": float(keys.cpus_per_worker), "GPU": float(keys.gpus_per_worker)}
        worker = {name: count for name, count in each.items() if count}
        server = {"CPU": keys.cpus_per_shard} if keys.cpus_per_shard else {}
        self._first_server = keys.workers if worker else 0
        self._places = {"worker": bool(worker), "server": bool(server)}
        bundles = [b for b in [worker] * keys.workers + [server] * keys.shards if b]
        asked = count_of(keys.workers, "worker")
        if server:
            asked += f" and {count_of(keys.shards, 'server')}"
        self._group: Any = None
        if bundles:
            self._group = reserve(
                ray,
                bundles,
                asked=asked,
                advice="lower asynchronous.workers or asynchronous.cpus_per_worker, or add "
                "machines to the cluster",
                strategy="SPREAD",
            )

    def worker(self, index: int) -> dict[str, Any]:
        """Options of a worker's process."""
        bundle = index if self._places["worker"] else None
        return self._options(bundle, self._keys.cpus_per_worker, self._keys.gpus_per_worker)

    def server(self, index: int) -> dict[str, Any]:
        """Options of a server's process."""
        bundle = self._first_server + index if self._places["server"] else None
        return self._options(bundle, self._keys.cpus_per_shard, 0)

    def _options(self, bundle: int | None, cpus: float, gpus: int) -> dict[str, Any]:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        place: Any = "SPREAD"
        if bundle is not None:
            place = PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=bundle
            )
        return {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": place,
            # A thread to wait for the process's end, and one that answers while it computes.
            "concurrency_groups": {"watch": 2},
        }

    def give_back(self) -> None:
        """Frees the resources."""
        from ray.util import remove_placement_group

        if self._group is not None:
            remove_placement_group(self._group)
