"""Asynchronous runs on one Ray cluster in which things go wrong, for real.

``python ray_scenarios.py FOLDER NAME…`` prints a line of JSON for each. The network counts: it has
a parameter for every image, each batch adds exactly 1 to those of its images, whenever it is
applied (the gradient is -1, the learning rate 1). So the servers' parameters tell how often every
image was used, whatever the ledger believes.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import torch
from torch import nn

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

STEPS_PER_EPOCH, BATCH = 29, 48
COUNT = "--optimizer.momentum 0 --optimizer.weight_decay 0"
SMALL = "--model.width 0.125 --model.middle_flow_repeats 1 --data.batch_size 240"


class Counting(nn.Module):
    """A parameter for every image."""

    num_classes, architecture, arguments, numerics = 10, "counting", {}, {}

    def __init__(self, images):
        super().__init__()
        self.uses = nn.Embedding(images, 1)
        nn.init.zeros_(self.uses.weight)

    def depth_levels(self):
        return [("uses",)]

    def forward(self, images):
        return torch.zeros(len(images), self.num_classes)


def counting(words=COUNT):
    """The classifier that counts, and the digits."""
    recipe = load_recipe("digits-xception", words.split())
    data = build_data(recipe)
    classifier = build_classifier(recipe, data, Counting(len(data.train_source)))
    classifier.current_learning_rate = lambda step: 1.0
    classifier.batch_loss = lambda batch: -classifier.model.uses(batch.indices).sum()
    return classifier, data


def once(path):
    """Whether nobody has asked before."""
    try:
        path.open("x").close()
    except FileExistsError:
        return False
    return True


class Watched:
    """Batches that note which process asks for which."""

    def __init__(self, batches, folder, trouble):
        self.batches, self.folder, self.trouble = batches, folder, trouble

    def __getitem__(self, place):
        epoch, positions = place
        number = epoch * STEPS_PER_EPOCH + positions.start // BATCH
        with (self.folder / f"batches-of-{os.getpid()}").open("a") as file:
            file.write(f"{number}\n")
        self.trouble(number)
        return self.batches[place]


def build(folder, trouble=lambda folder, classifier: lambda number: None):
    """What a worker's process builds, with the trouble that it makes there."""
    classifier, data = counting()
    (folder / f"built-{os.getpid()}").touch()
    return classifier, Watched(training_batches(data), folder, trouble(folder, classifier))


class Deadly:
    """A push that kills its process where it would be sent, when the one before has arrived."""

    def __reduce__(self):
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGKILL)


def three_troubles(folder, classifier):
    """Batch 12 dies with half a push sent, the loss of 18 is NaN, 22 hangs; each once."""
    compute, loss = GradientWorker.compute, classifier.batch_loss

    def half(self, lease, pulled, batch=None):
        report, pushes = compute(self, lease, pulled, batch)
        is_deadly = lease.number == 12 and once(folder / "half")
        return report, [pushes[0], Deadly()] if is_deadly else pushes

    GradientWorker.compute = half

    def trouble(number):
        is_spoilt = number == 18 and once(folder / "nan")
        classifier.batch_loss = lambda batch: loss(batch) * (torch.nan if is_spoilt else 1)
        if number == 22 and once(folder / "hang"):
            os.kill(os.getpid(), signal.SIGSTOP)

    return trouble


def begin(folder, epochs, **keys):
    """A counting run with a snapshot every 10 updates."""
    classifier, data = counting()
    run = Run(
        classifier=classifier,
        data=data,
        directory=RunDirectory(folder / "run"),
        polyak_decay=None,
        checkpoint_every_steps=10,
        total_steps=epochs * STEPS_PER_EPOCH,
    )
    run.directory.path.mkdir(parents=True)
    keys = AsynchronousKeys(shards=2, **keys)
    return AsynchronousRun(run, keys, log_every_steps=10, is_evaluated=lambda step: False)


def drive(run, cluster):
    """To the end; how often each image was used, and what the run tells of itself."""
    cluster.start()
    run.begin(cluster, resume=False)
    with ThreadPoolExecutor(1) as executor:
        average = run.drive(cluster, (), executor)
    shards = torch.load(run.run.directory.checkpoints / "last.ckpt", weights_only=True)["shards"]
    return {
        "uses": average.parameters.tolist(),
        "versions": [shard["version"] for shard in shards],
        "refused": [shard["refused"] for shard in shards],
        **run.describe(),
    }


def at_step(run, step, action):
    """Does something when an update is complete."""
    add_loss = run.record.add_loss

    def noting(loss, completed):
        add_loss(loss, completed)
        if completed == step and once(run.run.directory.path / f"done-{step}"):
            action()

    run.record.add_loss = noting


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


METHODS = {  # of each kind of process: what a call without arguments may ask
    "gcs_server": ["NodeInfoGcsService/GetAllNodeInfo"],
    "raylet": ["NodeManagerService/GetNodeStats", "ObjectManagerService/Pull"],
    "": ["CoreWorkerService/GetCoreWorkerStats"],
}


def answers(name, port, token):
    """What a process says to a call with this token, by method."""
    headers = [("authorization", f"Bearer {token}")] if token else []
    if "RuntimeEnv" in name:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/get_or_create_runtime_env", b"", dict(headers), method="POST"
        )
        try:
            return {urllib.request.urlopen(request, timeout=10).status}
        except urllib.error.HTTPError as error:
            return {error.code}
    found = set()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in METHODS.get(name, METHODS[""]):
            try:
                channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=10, metadata=headers)
                found.add("OK")
            except grpc.RpcError as error:
                found.add(error.code().name)
    return found - {"UNIMPLEMENTED"}  # raylet listens twice, with one service each


def ports(folder):
    """What listens while a run has its processes; what a stranger is told; where the token is."""
    run = begin(folder, epochs=1, workers=2)
    with connected(run, partial(build, folder)) as cluster:
        cluster.start()
        while len(cluster.places()) < 4:
            cluster.next_event()
        listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True).stdout
        commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        session = Path(cluster._ray._private.worker._global_node.get_session_dir_path())
        token = os.environ["RAY_AUTH_TOKEN"]
        with_token = [
            str(path)
            for path in session.rglob("*")
            if path.is_file() and token.encode() in path.read_bytes()
        ]
        told = {}
        for line in listening.splitlines():
            place, name = line.split()[3], line.split('"')[1]
            port = place.rpartition(":")[2]
            told[f"{name} {place}"] = [
                sorted(map(str, answers(name, port, given))) for given in ("", "0" * 64, token)
            ]
        return {
            "told": told,
            "token in commands": token in commands,
            "token in files": with_token,
            "mode": oct(session.parents[1].stat().st_mode & 0o777),
        }


if __name__ == "__main__":
    root, names = Path(sys.argv[1]), sys.argv[2:]
    with connection("local", "the tests"):
        for name in names:
            (root / name).mkdir(parents=True)
            started = time.monotonic()
            result = globals()[name](root / name)
            seconds = round(time.monotonic() - started, 1)
            print(json.dumps({"scenario": name, "seconds": seconds, **result}), flush=True)
