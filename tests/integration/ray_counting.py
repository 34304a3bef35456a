"""A network that counts, for asynchronous runs on Ray in which things go wrong.

It has a parameter for every image, each batch adds exactly 1 to those of its images, whenever it is
applied (the gradient is -1, the learning rate 1). So the servers' parameters tell how often every
image was used, whatever the ledger believes.
"""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from xception.distributed.asynchronous import AsynchronousRun
from xception.distributed.gradient_worker import GradientWorker, training_batches
from xception.distributed.settings import AsynchronousKeys
from xception.recipes.build import build_classifier, build_data
from xception.recipes.load import load_recipe
from xception.training.fit import Run
from xception.training.run_directory import RunDirectory

STEPS_PER_EPOCH, BATCH = 29, 48
COUNT = "--optimizer.momentum 0 --optimizer.weight_decay 0"


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
