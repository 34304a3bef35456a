"""A recipe with ``asynchronous.workers``: the same run through parameter servers (section 4.3)."""

import inspect
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from xception.distributed.asynchronous import AsynchronousRun
from xception.distributed.gradient_worker import GradientWorker, training_batches
from xception.distributed.layout import Values
from xception.distributed.progress import shown
from xception.distributed.settings import AsynchronousKeys
from xception.distributed.simulator import Inline, SimulatedCluster, jittered
from xception.errors import InputError, RunFailedError
from xception.recipes.announcement import announce
from xception.recipes.conclude import conclude
from xception.recipes.load import Recipe
from xception.recipes.run_list import keep_list_of_images
from xception.recipes.worker_build import WorkerBuild, keep_memory
from xception.signals import received_by
from xception.training.checkpoints import newest_checkpoint
from xception.training.fit import Finished, Run
from xception.training.full_device import space_needed
from xception.training.interruption import RunInterrupted, interruptible
from xception.training.metrics_file import rows_every
from xception.training.run_directory import RunDirectory

_READ_KEYS = {
    "max_epochs",
    "max_steps",
    "val_check_interval",
    "check_val_every_n_epoch",
    "log_every_n_steps",
    "enable_progress_bar",
    "accelerator",
}
_AS_GOOD_AS_DEFAULT = (
    ("accumulate_grad_batches", 1),
    ("devices", 1),
    ("devices", "1"),
    ("logger", True),
    ("logger", False),
    ("precision", "32-true"),
    ("precision", "32"),
    ("precision", 32),
)


def train_asynchronously(
    recipe: Recipe, run: Run, resume: bool, overwrite: bool, started: float, launched: bool
) -> RunDirectory:
    """Trains with asynchronous workers and describes the result as synchronous training does.

    Args:
        recipe: What to do.
        run: What is trained, on what, and where the results go.
        resume: Go on with the run in its directory.
        overwrite: Replace the run in it.
        started: When this process began, seconds since the epoch.
        launched: Whether a launcher has started this process as one of several.

    Raises:
        InputError: A key that this training can't follow, or fewer resources than asked for.
        RunFailedError: The gradients are not finite, or too many processes died.
        RunInterrupted: A signal came; the state is saved.
    """
    keys = AsynchronousKeys(**recipe.group("asynchronous"))
    _refuse_what_is_not_followed(recipe, launched)
    loggers = []
    if recipe.keys["trainer"]["logger"] is not False:
        place = run.directory.path
        loggers = [TensorBoardLogger(place, "", "tensorboard", default_hp_metric=False)]
    asynchronous = AsynchronousRun(
        run,
        keys,
        log_every_steps=recipe.keys["trainer"]["log_every_n_steps"] or rows_every(run.total_steps),
        is_evaluated=evaluation_steps(recipe.group("trainer"), run.data.steps_per_epoch),
        loggers=loggers,
        keep_memory=keep_memory(recipe),
    )
    execute = _simulated if keys.engine == "simulator" else partial(_on_ray, recipe)
    has_bar = recipe.keys["trainer"]["enable_progress_bar"] is not False

    def begin() -> bool:
        """Claims the directory; says whether there is a snapshot to go on from."""
        defaults = recipe.defaults() if resume else None
        run.directory.claim(recipe.keys, resume=resume, overwrite=overwrite, defaults=defaults)
        keep_list_of_images(recipe, run.data, run.directory)
        checkpoint = newest_checkpoint(run.directory.checkpoints) if resume else None
        announce(recipe, run.classifier, run.data, run.directory, checkpoint)
        return checkpoint is not None

    with interruptible(lambda: asynchronous.snapshots.step), space_needed():
        try:
            average = execute(asynchronous, begin, has_bar)
        except RunFailedError as error:
            diverged = "the loss" in str(error)
            advice = ", or lower optimizer.learning_rate in a new run" if diverged else ""
            raise RunFailedError(f"{error}; go on with --resume{advice}") from None
        _conclude(recipe, asynchronous, average, started)
    return run.directory


def _conclude(
    recipe: Recipe, asynchronous: AsynchronousRun, average: Values, started: float
) -> None:
    run = asynchronous.run
    asynchronous.layout.write(average)
    steps, per_epoch = run.total_steps, run.data.steps_per_epoch
    finished = Finished(
        run=run,
        steps=steps,
        epochs=-(-steps // per_epoch),
        seconds=asynchronous.record.elapsed(),
        unreadable=[reason for _, reason in sorted(asynchronous.unreadable.found.items())],
        details={"asynchronous": asynchronous.describe()},
    )
    conclude(recipe, finished, run.directory, started)


def _simulated(run: AsynchronousRun, begin: Callable[[], bool], has_bar: bool) -> Values:
    keys = run.keys
    worker = GradientWorker(
        run.run.classifier, training_batches(run.run.data), run.layout, keys.gradient_precision
    )
    durations = jittered(keys.jitter, run.run.classifier.seed)
    cluster = SimulatedCluster(run.servers(), worker, durations)
    run.begin(cluster, resume=begin())
    with _signals(run), shown(run, enabled=has_bar):
        return run.drive(cluster, range(keys.workers), Inline())


def _on_ray(
    recipe: Recipe, run: AsynchronousRun, begin: Callable[[], bool], has_bar: bool
) -> Values:
    from xception.distributed.ray_cluster import connected

    build = WorkerBuild(recipe, run.run.directory.checkpoints.absolute())
    with connected(run, build) as cluster:
        resume = begin()
        build.record, build.by_position = run.run.data.record, run.run.data.by_position
        cluster.start()
        run.begin(cluster, resume=resume)
        bar = shown(run, enabled=has_bar)
        with _signals(run), ThreadPoolExecutor(1) as executor, bar:
            try:
                return run.drive(cluster, (), executor)
            finally:
                run.evaluation.discard()  # nobody waits for its figures any more


@contextmanager
def _signals(run: AsynchronousRun) -> Iterator[None]:
    """The first signal saves and stops the run; the second stops it at once."""

    def receive(number: int, frame: Any) -> None:
        if run.interrupted_by:
            raise RunInterrupted(number, run.snapshots.step)
        run.interrupt(number)

    with received_by(receive):
        yield


def _refuse_what_is_not_followed(recipe: Recipe, launched: bool) -> None:
    if launched or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "asynchronous training starts its own workers (asynchronous.workers): leave --launcher "
            "and torchrun out"
        )
    defaults = {
        name: parameter.default for name, parameter in inspect.signature(Trainer).parameters.items()
    }
    for name, value in recipe.group("trainer").items():
        if name in _READ_KEYS or value in (defaults.get(name), None):
            continue
        if (name, value) in _AS_GOOD_AS_DEFAULT:
            continue
        raise InputError(
            f"trainer.{name} is {value!r}, which asynchronous training does not follow; leave it "
            "out, or set asynchronous.workers to 0"
        )
    if recipe.keys["training"]["keep"] == "best":
        raise InputError(
            "training.keep is best, and asynchronous training keeps its last weights only; leave "
            "it out"
        )
    if recipe.keys["trainer"]["accelerator"] not in ("auto", "cpu"):
        raise InputError(
            "trainer.accelerator does not count with asynchronous workers; give them GPUs with "
            "asynchronous.gpus_per_worker"
        )


def evaluation_steps(trainer: dict[str, Any], steps_per_epoch: int) -> Callable[[int], bool]:
    """When Lightning would validate: whether it would after so many steps.

    Args:
        trainer: ``val_check_interval`` and ``check_val_every_n_epoch``.
        steps_per_epoch: Optimizer steps in an epoch.

    Example:
        >>> keys = {"val_check_interval": None, "check_val_every_n_epoch": 2}
        >>> [step for step in range(1, 13) if evaluation_steps(keys, 3)(step)]
        [6, 12]
    """
    interval, epochs = trainer["val_check_interval"], trainer["check_val_every_n_epoch"]
    if interval is None:
        interval = 1.0
    if not isinstance(interval, int | float):
        raise InputError("trainer.val_check_interval must be a number of steps here, not a time")
    if interval <= 0 or (epochs is not None and epochs < 1):
        raise InputError(
            "trainer.val_check_interval must be above 0, and trainer.check_val_every_n_epoch "
            "at least 1, or null"
        )
    if epochs is None:
        if isinstance(interval, float):
            raise InputError(
                "trainer.val_check_interval must be a number of steps where "
                "trainer.check_val_every_n_epoch is null"
            )
        return lambda step: step > 0 and step % interval == 0
    every = interval if isinstance(interval, int) else max(1, int(steps_per_epoch * interval))

    def is_evaluated(step: int) -> bool:
        epoch, batch = divmod(step - 1, steps_per_epoch)
        return step > 0 and (batch + 1) % every == 0 and (epoch + 1) % epochs == 0

    return is_evaluated
