"""The training step of an image classifier, as a LightningModule.

Every step's random numbers (dropout, stochastic depth) are seeded by (seed, batch, rank): the state
of a run is the number of batches it has seen, and no generator has to be saved.
"""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from xception.data.loading import Batch
from xception.data.preprocessing import Preprocessing
from xception.errors import RunFailedError
from xception.training.losses import Loss
from xception.training.optimizers import Groups, set_learning_rate
from xception.training.schedules import LearningRate, Schedule
from xception.training.validation import MeanAveragePrecision, TopAccuracy


class Classifier(pl.LightningModule):
    """A model with its loss, optimizer and schedule.

    Args:
        model: (N, 3, H, W) float in [-1, 1] → logits (N, num_classes).
        preprocessing: Normalises the uint8 batches, on the device that the model is on.
        loss: Logits and labels (or the targets of a multi-label batch) to a scalar.
        build_optimizer: Makes the optimizer from parameter groups.
        parameter_groups: The model's parameters in groups with their weight decay.
        learning_rate: The initial learning rate, already scaled to the batch.
        schedule: The factor on it, by samples seen.
        batch_size: Images per optimizer step, over all devices.
        samples_per_epoch: Images in an epoch.
        total_samples: Images in the whole run.
        seed: Seeds every step's random numbers.
        channels_last: Whether images and weights are laid out channels last.
        compile: Whether the forward pass goes through ``torch.compile``.
        validation: What is measured on held-out images; ``None``: top-1 and top-5 accuracy.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        loss: Loss,
        *,
        build_optimizer: Any,
        parameter_groups: Groups,
        learning_rate: float,
        schedule: Schedule,
        batch_size: int,
        samples_per_epoch: int,
        total_samples: int,
        seed: int = 0,
        channels_last: bool = False,
        compile: bool = False,
        validation: MeanAveragePrecision | TopAccuracy | None = None,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.memory_format)
        # Held in a list, so that the compiled module does not become a second set of weights.
        self._forward = [torch.compile(self.model) if compile else self.model]
        self.preprocessing = preprocessing
        self.loss = loss
        self.build_optimizer = build_optimizer
        self.groups = parameter_groups
        self.current_learning_rate = LearningRate(
            learning_rate, schedule, batch_size, samples_per_epoch, total_samples
        )
        """The learning rate of optimizer step ``step``, counted from 0."""
        self.batch_size = batch_size
        self.samples_per_epoch = samples_per_epoch
        self.total_samples = total_samples
        self.seed = seed
        num_classes = int(getattr(model, "num_classes"))  # noqa: B009 - nn.Module types it as Tensor
        self.validation = validation or TopAccuracy(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of uint8 images (N, 3, S, S)."""
        normalized = self.preprocessing.normalize(images)
        logits: Tensor = self._forward[0](normalized.contiguous(memory_format=self.memory_format))
        return logits

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's optimizer; the schedule is applied before every batch instead."""
        optimizer: torch.optim.Optimizer = self.build_optimizer(self.groups)
        return optimizer

    def _place_loader(self) -> None:
        """The order of the samples follows from the step alone, whatever Lightning has restored."""
        loader = self.trainer.train_dataloader
        if loader is not None:
            loader.samples_seen = self.trainer.global_step * self.batch_size

    def on_train_start(self) -> None:
        """Lets the loader go on where the optimizer stands."""
        self._place_loader()

    def on_train_epoch_start(self) -> None:
        """Lets the loader go on where the optimizer stands."""
        self._place_loader()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Sets the learning rate and the random numbers of this batch, both by its number."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        set_learning_rate(optimizer, self.current_learning_rate(self.trainer.global_step))
        batches_seen = self.trainer.global_step * self.trainer.accumulate_grad_batches
        batches_seen += batch_idx % self.trainer.accumulate_grad_batches
        self.seed_batch(batches_seen)

    def seed_batch(self, batch: int) -> None:
        """Sets the random numbers of a batch, by its number in the run and the process's rank."""
        torch.manual_seed(hash((self.seed, batch, self.global_rank)) & (2**63 - 1))

    def batch_loss(self, batch: Batch) -> Tensor:
        """The loss of one batch, a scalar."""
        wanted = batch.labels if batch.targets is None else batch.targets
        return self.loss(self(batch.images), wanted)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch.

        Raises:
            RunFailedError: The loss is NaN or infinite.
        """
        loss = self.batch_loss(batch)
        if not math.isfinite(loss.item()):
            rate = self.current_learning_rate(self.trainer.global_step)
            raise RunFailedError(
                f"the loss became {loss.item()} at step {self.trainer.global_step} "
                f"(learning rate {rate:.4g})"
            )
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begins a new count."""
        self.validation.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts one batch; padding and unreadable images are left out."""
        self.validation.update(self(batch.images), batch)

    def on_validation_epoch_end(self) -> None:
        """Publishes the figures, over all devices, under their names in ``metrics.csv``."""
        for name, figure in self.validation.figures().items():
            self.log(name, figure, prog_bar=name in ("validation_top1", "validation_map"))
