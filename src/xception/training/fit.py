"""One training run: Lightning's Trainer with this project's callbacks in their order."""

import logging
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger

from xception.data.module import ImageData
from xception.errors import InputError, RunFailedError
from xception.training.checkpoints import AtomicCheckpointIO, ExactCheckpoints
from xception.training.classifier import Classifier
from xception.training.interruption import Interruption
from xception.training.metrics_file import MetricsFile, rows_every
from xception.training.polyak import PolyakAveraging
from xception.training.progress import RunProgress
from xception.training.restarted_group import join_restarted_group
from xception.training.run_directory import RunDirectory

# What gloo and NCCL say where a peer has gone.
_LOST = re.compile("closed by peer|reset by peer|broken pipe|remote process exited", re.IGNORECASE)


@dataclass
class Run:
    """What is trained, on what, and where the results go.

    Attributes:
        classifier: The training step.
        data: Ready data (``setup`` has been called).
        directory: Where the results go.
        polyak_decay: Decay of the averaged weights; ``None``: no averaging.
        checkpoint_every_steps: Steps between checkpoints inside an epoch.
        total_steps: Optimizer steps of the whole run.
    """

    classifier: Classifier
    data: ImageData
    directory: RunDirectory
    polyak_decay: float | None
    checkpoint_every_steps: int | None
    total_steps: int


@dataclass
class Trained:
    """A finished run.

    Attributes:
        run: What was trained; the model holds the averaged weights where there are any.
        trainer: Lightning's trainer, for its figures and its rank.
        metrics: Elapsed time and rows.
    """

    run: Run
    trainer: pl.Trainer
    metrics: MetricsFile

    @property
    def unreadable(self) -> list[str]:
        """The training images of this process that could not be read, with the reasons."""
        return [reason for _, reason in sorted(self.run.data.unreadable.items())]

    def finished(self) -> "Finished":
        """What is told of it."""
        steps, epochs = self.trainer.global_step, self.trainer.current_epoch
        return Finished(self.run, steps, epochs, self.metrics.elapsed(), self.unreadable)


@dataclass
class Finished:
    """What is told of a finished training, whichever loop did it.

    Attributes:
        run: What was trained; the model holds the averaged weights where there are any.
        steps: Optimizer steps.
        epochs: Epochs begun.
        seconds: Of training, interruptions not counted.
        unreadable: Training images that could not be read, with the reasons.
        details: More for ``summary.json``, below ``training``.
    """

    run: Run
    steps: int
    epochs: int
    seconds: float
    unreadable: list[str]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Preparation:
    """A trainer with this project's callbacks, before its first step: nothing is written yet.

    Attributes:
        run: What will be trained.
        trainer: Lightning's trainer.
        polyak: Averages the weights.
        metrics: Writes ``metrics.csv``.
        checkpoints: Saves.
    """

    run: Run
    trainer: pl.Trainer
    polyak: PolyakAveraging
    metrics: MetricsFile
    checkpoints: ExactCheckpoints


def prepare(run: Run, trainer_arguments: dict[str, Any]) -> Preparation:
    """Makes the trainer of a run.

    Args:
        run: What to do.
        trainer_arguments: Keyword arguments of Lightning's Trainer, from the recipe.

    Raises:
        InputError: The trainer's arguments contradict one another, or name a device that is not
            there.
    """
    quiet_lightning()
    arguments = dict(trainer_arguments)
    own = list(arguments.pop("callbacks", None) or [])
    every = arguments.get("log_every_n_steps") or rows_every(run.total_steps)
    arguments["log_every_n_steps"] = every
    metrics = MetricsFile(run.directory.metrics, every)
    try:
        polyak = PolyakAveraging(run.polyak_decay)
        checkpoints = ExactCheckpoints(
            run.directory.checkpoints,
            every_steps=run.checkpoint_every_steps,
            description=description(run),
        )
    except ValueError as error:  # a value out of its range; the message names the key
        raise InputError(str(error)) from None
    # The order counts: a checkpoint holds what the ones before it have just updated.
    limit = _seconds(arguments.pop("max_time", None))
    callbacks: list[pl.Callback] = [polyak, metrics, checkpoints, Interruption(checkpoints, limit)]
    callbacks += own
    if arguments.get("enable_progress_bar") is not False:
        callbacks.append(RunProgress(run.total_steps, metrics))
    if arguments.get("logger") in (None, True):
        arguments["logger"] = TensorBoardLogger(
            run.directory.path, name="", version="tensorboard", default_hp_metric=False
        )
    arguments["enable_checkpointing"] = any(isinstance(callback, Checkpoint) for callback in own)
    arguments["use_distributed_sampler"] = False  # the loader slices the global order itself
    if arguments.get("enable_model_summary") is None:
        arguments["enable_model_summary"] = False
    if arguments.get("num_sanity_val_steps") is None:
        arguments["num_sanity_val_steps"] = 0
    plugins = arguments.pop("plugins", None) or []
    plugins = list(plugins) if isinstance(plugins, (list, tuple)) else [plugins]
    try:
        trainer = pl.Trainer(
            callbacks=callbacks,
            plugins=[*plugins, AtomicCheckpointIO()],
            default_root_dir=run.directory.path,
            **arguments,
        )
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        raise InputError(f"trainer.*: {' '.join(str(error).split())}") from None
    return Preparation(run, trainer, polyak, metrics, checkpoints)


def fit(prepared: Preparation, checkpoint: Path | None) -> Trained:
    """Trains to the end and leaves the averaged weights in the model.

    Args:
        prepared: The run with its trainer.
        checkpoint: Where to go on from; ``None`` starts at the first step.

    Raises:
        RunInterrupted: A signal came; the state is saved.
        RunFailedError: The loss became NaN, or another process of the run has ended.
    """
    run, average = prepared.run, prepared.polyak.average
    if prepared.trainer.world_size > 1:
        join_restarted_group(prepared.trainer.strategy.root_device.type)
    try:
        prepared.trainer.fit(
            run.classifier,
            datamodule=run.data,
            ckpt_path=None if checkpoint is None else str(checkpoint),
            weights_only=True,
        )
    except SystemExit as stop:  # what Lightning makes of a Ctrl-C before the first batch
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    except RuntimeError as error:
        if prepared.trainer.world_size > 1 and _LOST.search(str(error)):
            raise RunFailedError("another process of the run has ended") from None
        raise
    if average is not None:
        run.classifier.model.load_state_dict(average.average)
    return Trained(run, prepared.trainer, prepared.metrics)


def _seconds(max_time: Any) -> float | None:
    """``trainer.max_time`` in seconds: an interruption at that time, where Lightning's own ends."""
    if max_time is None:
        return None
    try:
        limit = pl.callbacks.Timer(max_time).time_remaining()
    except (ValueError, TypeError, MisconfigurationException):
        limit = None
    if limit is None or limit <= 0:
        raise InputError(f"trainer.max_time is {max_time}; write it as DD:HH:MM:SS")
    return limit


def quiet_lightning() -> None:
    """Keeps Lightning's notes to itself; its warnings come through, but for five about itself."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # sync_dist: every process has the figures of all, and their mean could differ in the last bit.
    # The last: rows of metrics.csv are counted over the whole run, not anew in every epoch.
    known = (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".*litlogger.*",
        ".*sync_dist=True.*",
        ".*smaller than the logging interval.*",
    )
    for text in known:
        warnings.filterwarnings("ignore", message=text)


def description(run: Run) -> dict[str, Any]:
    """What the model is, as primitives: enough to build and use it without the recipe."""
    model = run.classifier.model
    return {
        "architecture": model.architecture,
        "arguments": model.arguments,
        "numerics": model.numerics,
        "class_names": list(run.data.class_names),
        "preprocessing": run.data.preprocessing.to_dict(),
        "multi_label": run.data.multi_label,
    }
