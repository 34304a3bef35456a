"""Polyak averaging: the weights that the paper evaluates (section 4.3).

As in TensorFlow's ``ExponentialMovingAverage``, the decay warms up as min(d, (1+n)/(10+n)), so that
the random initial weights are forgotten early, and BatchNorm's moving statistics are averaged too.
"""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn


class PolyakAverage:
    """An exponential moving average of a set of named tensors.

    Integer tensors (BatchNorm's ``num_batches_tracked``) are copied, not averaged.

    Args:
        decay: The decay d that the warm-up ends at, 0 ≤ d < 1; 0 keeps the last value.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"polyak.decay must be in [0, 1), not {decay}")
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}

    def current_decay(self) -> float:
        """The decay of the next update: min(d, (1+n)/(10+n)) after n updates."""
        return min(self.decay, (1 + self.updates) / (10 + self.updates))

    @torch.no_grad()
    def start(self, tensors: Mapping[str, Tensor]) -> None:
        """Begins at the given values, as TensorFlow's shadow variables do."""
        self.average = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self.updates = 0

    @torch.no_grad()
    def update(self, tensors: Mapping[str, Tensor]) -> None:
        """Moves the average towards ``tensors``: a ← d·a + (1−d)·t."""
        weight = 1 - self.current_decay()
        floating = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
        if floating:
            torch._foreach_lerp_(
                [self.average[name] for name in floating],
                [tensors[name].detach() for name in floating],
                weight,
            )
        for name, tensor in tensors.items():
            if not tensor.is_floating_point():
                self.average[name].copy_(tensor)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """The decay, the number of updates and the averaged tensors."""
        return {"decay": self.decay, "updates": self.updates, "state_dict": dict(self.average)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes a ``state_dict`` back; the tensors are copied."""
        self.updates = int(state["updates"])
        self.average = {name: tensor.clone() for name, tensor in state["state_dict"].items()}


@torch.no_grad()
def swap(model: nn.Module, average: PolyakAverage) -> None:
    """Exchanges the model's values with the averaged ones, in place; twice restores both."""
    for name, tensor in model.state_dict(keep_vars=False).items():
        held = average.average[name].clone()
        average.average[name].copy_(tensor)
        tensor.copy_(held)


class PolyakAveraging(pl.Callback):
    """Keeps the average of ``module.model`` during training, validates on it, checkpoints it.

    Args:
        decay: See `PolyakAverage`; ``None`` switches averaging off.
    """

    def __init__(self, decay: float | None) -> None:
        self.average = None if decay is None else PolyakAverage(decay)
        self._seen_step = 0
        self._swapped = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts from the initial weights, or moves restored ones to the model's device."""
        if self.average is None:
            return
        model = pl_module.get_submodule("model")
        if not self.average.average:
            self.average.start(model.state_dict())
        for name, tensor in model.state_dict().items():
            self.average.average[name] = self.average.average[name].to(tensor.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Updates once after every optimizer step (not after every accumulated batch)."""
        if self.average is not None and trainer.global_step > self._seen_step:
            self._seen_step = trainer.global_step
            self.average.update(pl_module.get_submodule("model").state_dict())

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the averaged weights into the model."""
        if self.average is not None and self.average.average:
            swap(pl_module.get_submodule("model"), self.average)
            self._swapped = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes them out again."""
        if self._swapped and self.average is not None:
            swap(pl_module.get_submodule("model"), self.average)
            self._swapped = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the key ``polyak``."""
        assert not self._swapped, "a checkpoint during validation would hold the wrong weights"
        if self.average is not None:
            checkpoint["polyak"] = self.average.state_dict()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Takes the average back."""
        # Lightning restores trainer.global_step itself only after on_fit_start.
        self._seen_step = checkpoint["global_step"]
        if self.average is not None and "polyak" in checkpoint:
            self.average.load_state_dict(checkpoint["polyak"])
