"""Tells the loader how far the optimizer has come, and keeps the list of unreadable images."""

import logging
from typing import Any

import lightning.pytorch as pl

from xception.data.loading import Batch
from xception.data.module import ImageData
from xception.errors import InputError

log = logging.getLogger(__name__)


class SamplesSeen(pl.Callback):
    """A batch counts when the optimizer has used it, not when a loader has prepared it.

    Args:
        data: Its training loader's ``samples_seen`` is kept up to date.
    """

    def __init__(self, data: ImageData) -> None:
        self.data = data
        self.skipped: dict[int, str] = {}

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Moves on by a global batch for every optimizer step."""
        loader = trainer.train_dataloader
        if loader is not None:
            loader.samples_seen = trainer.global_step * self.data.batch_size
        for index, reason in batch.skipped:
            if index not in self.skipped:
                self.skipped[index] = reason
                log.warning("skipped: %s", reason)
        if len(self.skipped) > self.data.max_unreadable:
            raise InputError(
                f"{len(self.skipped)} training images can't be read, more than "
                f"data.max_unreadable={self.data.max_unreadable}; the last: {[*self.skipped.values()][-1]}"
            )

    def state_dict(self) -> dict[str, Any]:
        """The unreadable images so far."""
        return {"skipped": dict(self.skipped)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them back."""
        self.skipped = dict(state_dict["skipped"])
