"""Checkpoints that survive a kill at any moment, and the choice of the one to go on from.

``last.ckpt`` is the newest, ``previous.ckpt`` the one before it, ``best.ckpt`` the one with the
best validation top-1, or MAP@k where images have several labels; of equals, the one with the lowest
loss. A file is written under another name in the same directory, flushed to the device and renamed:
under its own name it is always whole. ``last`` and ``previous`` are never both absent once the
first has been written. Files are never changed, so one may carry two names (hard links).
"""

import contextlib
import math
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import CheckpointIO

from xception.errors import InputError
from xception.weights.atomic import flush_directory, replacing
from xception.weights.containers import read_pickled

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


def name_again(existing: Path, name: Path) -> None:
    """Gives the file ``existing`` a second name, atomically; a copy where links are unsupported."""
    partial = name.with_name(f".{name.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(existing, partial)
    except OSError:
        with replacing(name) as copy:
            shutil.copyfile(existing, copy)
        return
    partial.replace(name)
    partial.unlink(missing_ok=True)  # rename(2) leaves it where both are the same file already
    flush_directory(name.parent)


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's way to disk, durable, and reading nothing but tensors and primitives."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Writes ``checkpoint`` to ``path``."""
        with replacing(Path(path)) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads ``path``; pickled objects are refused."""
        return read_pickled(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Deletes ``path``."""
        Path(path).unlink(missing_ok=True)


def newest_checkpoint(directory: Path) -> Path | None:
    """The newest whole checkpoint of a run, or ``None`` where none was ever written.

    A damaged ``last.ckpt`` is passed over with a warning in favour of the one before it.

    Raises:
        InputError: There are checkpoints, and all are damaged.
    """
    damaged = []
    for name in (LAST, PREVIOUS):
        path = directory / name
        if not path.exists():
            continue
        try:
            read_pickled(path)
        except InputError as error:
            damaged.append(path)
            reason = error
            continue
        if damaged:
            warnings.warn(
                f"{damaged[0]} is truncated or damaged: going on from {path} instead", stacklevel=2
            )
        return path
    if damaged:
        names = " and ".join(path.name for path in damaged)
        raise InputError(
            f"no checkpoint in {directory} can be read, neither whole nor in part ({names}: "
            f"{reason}); start anew with --overwrite, or in another directory"
        )
    return None


def last_good_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint whose weights are all finite; a diverging run may have saved others."""
    for name in (LAST, PREVIOUS, BEST):
        path = directory / name
        if path.exists():
            with contextlib.suppress(InputError):
                tensors = read_pickled(path)["state_dict"].values()
                if all(bool(tensor.isfinite().all()) for tensor in tensors):
                    return path
    return None


def _validation_follows(trainer: pl.Trainer) -> bool:
    """Whether this batch is one after which Lightning validates inside the epoch."""
    loop, every = trainer.fit_loop.epoch_loop, trainer.val_check_batch
    whole = trainer.check_val_every_n_epoch is None
    batches = (loop.total_batch_idx if whole else loop.batch_idx) + 1
    return trainer.enable_validation and every is not None and batches % every == 0


class ExactCheckpoints(pl.Callback):
    """Saves so that a resumed run repeats the undisturbed one.

    Between epochs it saves after validation, inside an epoch after every ``every_steps`` optimizer
    steps; never between a batch and the validation that follows it, which Lightning would skip.
    The best of several validations inside an epoch goes to ``best.ckpt`` alone: a run never goes
    on from there.

    Args:
        directory: Where the files go.
        every_steps: Steps between two saves inside an epoch; ``None`` saves between epochs only.
        description: What the model is, saved under the key ``xception``.
    """

    def __init__(
        self, directory: Path, *, every_steps: int | None, description: dict[str, Any]
    ) -> None:
        if every_steps is not None and every_steps < 1:
            raise ValueError(f"training.checkpoint_every_steps must be ≥ 1, not {every_steps}")
        self.directory = directory
        self.every_steps = every_steps
        self.description = description
        self.best: float | None = None
        self.best_loss = math.inf
        self.validations = 0
        self.best_step = 0
        self.saved_step = 0
        self.is_due = False

    def save(self, trainer: pl.Trainer) -> None:
        """Writes ``last.ckpt``; the one it replaces becomes ``previous.ckpt``."""
        last = self.directory / LAST
        if trainer.is_global_zero:
            self.directory.mkdir(parents=True, exist_ok=True)
            if last.exists():
                name_again(last, self.directory / PREVIOUS)
        trainer.save_checkpoint(last, weights_only=False)
        self.saved_step = trainer.global_step
        self.is_due = False
        if trainer.is_global_zero and self.best_step == trainer.global_step:
            name_again(last, self.directory / BEST)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Notes the step that the run goes on from; Lightning sets its own only later."""
        self.saved_step = checkpoint["global_step"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Repeats the naming of the best one, should a kill have come between the two."""
        if trainer.is_global_zero and self.best_step == self.saved_step > 0:
            name_again(Path(str(trainer.ckpt_path)), self.directory / BEST)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Saves inside an epoch, when it is time; where that is impossible, after the next step."""
        if self.every_steps and (self.is_due or trainer.global_step % self.every_steps == 0):
            self.is_due = not self.save_inside_epoch(trainer)

    def save_inside_epoch(self, trainer: pl.Trainer) -> bool:
        """Saves now, if an exact resume is possible from here; says whether it is saved."""
        loop = trainer.fit_loop.epoch_loop
        if trainer.global_step == self.saved_step:
            return True
        if loop._should_accumulate() or loop._num_ready_batches_reached():
            return False
        if _validation_follows(trainer):
            return False
        self.save(trainer)
        return True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes the best figure; inside an epoch, where no save follows, writes ``best.ckpt``."""
        measured = trainer.callback_metrics
        figure = measured.get("validation_map", measured.get("validation_top1"))
        if trainer.sanity_checking or figure is None:
            return
        self.validations += 1
        loss = float(measured.get("validation_loss", math.inf))
        # Of equal figures, which few images give often, the lower loss is the better one.
        if self.best is not None and not (
            float(figure) > self.best or (float(figure) == self.best and loss < self.best_loss)
        ):
            return
        self.best, self.best_loss, self.best_step = float(figure), loss, trainer.global_step
        if not trainer.fit_loop.epoch_loop._num_ready_batches_reached():
            self.directory.mkdir(parents=True, exist_ok=True)
            trainer.save_checkpoint(self.directory / BEST, weights_only=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves after validation."""
        self.save(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds what the model is."""
        checkpoint["xception"] = self.description

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far, its loss and step, and how many there were."""
        return {
            "best": self.best,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "validations": self.validations,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them back."""
        self.best = state_dict["best"]
        self.best_step = state_dict["best_step"]
        # A checkpoint of an earlier version knows no loss: of equal figures, the first stays.
        self.best_loss = state_dict.get("best_loss", -math.inf)
        self.validations = state_dict.get("validations", 0)
