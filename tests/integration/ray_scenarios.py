"""Asynchronous runs on one Ray cluster in which things go wrong, for real.

``python ray_scenarios.py FOLDER NAME…`` prints a line of JSON for each. The network of most counts
how often each image was used (``ray_counting.py``).
"""

import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from ray_counting import at_step, begin, build, drive, three_troubles
from ray_ports import ports

from xception.distributed import ray_servers
from xception.distributed.asynchronous import AsynchronousRun
from xception.distributed.cluster import Computed, Pushed, WorkerReady
from xception.distributed.gradient_worker import GradientWorker, training_batches
from xception.distributed.ray_cluster import connected
from xception.distributed.ray_connection import connection
from xception.distributed.settings import AsynchronousKeys
from xception.distributed.simulator import Inline, SimulatedCluster, jittered
from xception.errors import InputError, RunFailedError
from xception.recipes.build import build_classifier, build_data, build_model
from xception.recipes.load import load_recipe
from xception.training.fit import Run
from xception.training.run_directory import RunDirectory

SMALL = "--model.width 0.125 --model.middle_flow_repeats 1 --data.batch_size 240"


def workers(folder):
    """A worker is killed; another dies in the middle of a push; a NaN; a worker hangs."""
    run = begin(folder, epochs=2, workers=2, lease_seconds=20)
    lease = run.coordinator.lease
    killed = []

    def late(worker):
        # Nothing before both are there; from step 28 on only when all that were lost are back.
        wanted = 5 if run.coordinator.completed >= 28 else 2
        return lease(worker) if len(list(folder.glob("built-*"))) >= wanted else None

    run.coordinator.lease = late
    with connected(run, partial(build, folder, three_troubles)) as cluster:

        def kill():
            killed.append(cluster.places()["worker 1"].pid)
            os.kill(killed[0], signal.SIGKILL)

        at_step(run, 5, kill)
        result = drive(run, cluster)
        alive = [cluster.places()[f"worker {i}"].pid for i in (0, 1)]
    batches = {
        int(path.name.rpartition("-")[2]): [int(n) for n in path.read_text().split()]
        for path in folder.glob("batches-of-*")
    }
    return {**result, "killed": killed[0], "alive": alive, "batches": batches}


def servers(folder):
    """A server is killed at step 16, another hangs at step 24; the last snapshots: 10, 20."""
    ray_servers.ALIVE_SECONDS = 3
    run = begin(folder, epochs=1, workers=2, lease_seconds=20)
    with connected(run, partial(build, folder)) as cluster:

        def send(number, name):
            os.kill(cluster.places()[name].pid, number)

        at_step(run, 16, lambda: send(signal.SIGKILL, "server 1"))
        at_step(run, 24, lambda: send(signal.SIGSTOP, "server 0"))
        return drive(run, cluster)


def twice(folder):
    """A gradient is pushed twice; pushes that are not what they should be."""
    run = begin(folder, epochs=1, workers=1)
    with connected(run, partial(build, folder)) as cluster:
        cluster.start()
        while not isinstance(cluster.next_event(), WorkerReady):
            continue
        lease = run.coordinator.lease(0)
        cluster.compute(0, lease)
        found = []
        while len(found) < 2:
            event = cluster.next_event()
            if isinstance(event, Computed):
                cluster.push(0, lease)
            if isinstance(event, Pushed):
                found.append(event.verdicts)
                if len(found) < 2:
                    cluster.push(0, lease)
        ray, server = cluster._ray, cluster.servers.handles[0]
        pulled = ray.get([handle.pull.remote() for handle in cluster.servers.handles])
        worker = GradientWorker(run.run.classifier, training_batches(run.run.data), run.layout)
        _, (good, _) = worker.compute(run.coordinator.lease(0), pulled)
        bad = [
            replace(good, gradient=good.gradient * torch.nan),
            replace(good, gradient=good.gradient[1:]),
            replace(good, version=good.version + 1),
            replace(good, generation=good.generation + 1),
        ]
        refused = [ray.get(server.push.remote(push)) for push in bad]
        states = cluster.snapshots()
        return {
            "verdicts": found,
            "refused": refused,
            "versions": [state["version"] for state in states],
            "uses": torch.cat([state["values"]["parameters"] for state in states]).tolist(),
        }


def simulated(folder):
    """One worker on Ray beside one simulated worker: the digits' network, gradients in bfloat16."""

    def make():
        recipe = load_recipe("digits-xception", [*SMALL.split(), "--optimizer.name", "rmsprop"])
        data = build_data(recipe)
        return build_classifier(recipe, data, build_model(recipe, data)), data

    def make_worker():
        classifier, data = make()
        return classifier, training_batches(data)

    torch.set_num_threads(1)
    results = []
    for engine in ("ray", "simulator"):
        classifier, data = make()
        run = Run(classifier, data, RunDirectory(folder / engine), 0.9, None, 8)
        run.directory.path.mkdir(parents=True)
        keys = AsynchronousKeys(workers=1, shards=2, engine=engine, gradient_precision="bfloat16")
        run = AsynchronousRun(run, keys, log_every_steps=1, is_evaluated=lambda step: step == 5)
        if engine == "ray":
            with connected(run, make_worker) as cluster, ThreadPoolExecutor(1) as executor:
                cluster.start()
                run.begin(cluster, resume=False)
                results.append(run.drive(cluster, (), executor))
        else:
            batches = training_batches(data)
            worker = GradientWorker(classifier, batches, run.layout, "bfloat16")
            cluster = SimulatedCluster(run.servers(), worker, jittered(0))
            run.begin(cluster, resume=False)
            results.append(run.drive(cluster, [0], Inline()))
    pairs = zip(*results, strict=True)
    return {"equal": [torch.equal(one, other) for one, other in pairs], **run.describe()}


def mistakes(folder):
    """A worker finds a mistake of the user's; one that fails every time; too few cores."""

    def not_there():
        raise InputError("there is no folder images; name another with data.path")

    def broken():
        raise OSError("the disk is full of holes")

    told = []
    for make, keys in ((not_there, {}), (broken, {}), (not_there, {"cpus_per_worker": 1000})):
        place = folder / str(len(told))
        run = begin(place, epochs=1, workers=1, **keys)
        started = time.monotonic()
        try:
            with connected(run, make) as cluster:
                drive(run, cluster)
        except (InputError, RunFailedError) as error:
            told.append([type(error).__name__, str(error), time.monotonic() - started])
    return {"told": told}


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (workers, servers, twice, simulated, mistakes, ports)
}

if __name__ == "__main__":
    root, names = Path(sys.argv[1]), sys.argv[2:]
    with connection("local", "the tests"):
        for name in names:
            (root / name).mkdir(parents=True)
            started = time.monotonic()
            result = SCENARIOS[name](root / name)
            seconds = round(time.monotonic() - started, 1)
            print(json.dumps({"scenario": name, "seconds": seconds, **result}), flush=True)
