"""A small network on a few digits, to be trained by Lightning or by simulated workers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xception.data.digits import open_digits
from xception.data.module import ImageData
from xception.data.sources import Subset
from xception.models.parameter_groups import parameter_groups
from xception.training.classifier import Classifier
from xception.training.fit import Run
from xception.training.optimizers import OPTIMIZERS
from xception.training.run_directory import RunDirectory
from xception.training.schedules import exponential

IMAGES, BATCH, EPOCHS = 38, 7, 3  # five batches to an epoch; three images are left over


class SmallNetwork(nn.Module):
    """A convolution, BatchNorm twice, dropout and a dense layer: all that a server has to keep."""

    architecture = "small"
    arguments: dict[str, Any] = {}  # noqa: RUF012 - as the real networks have it
    numerics: dict[str, Any] = {}  # noqa: RUF012
    num_classes = 10

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, stride=2, bias=False),
            nn.BatchNorm2d(6, momentum=0.3),
        )
        self.dropout = nn.Dropout(0.3)
        self.dense = nn.Linear(6, 10)

    def depth_levels(self) -> list[tuple[str, ...]]:
        """For learning rates by level."""
        return [("features",), ("dense",)]

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, 10)."""
        return self.dense(self.dropout(self.features(images).mean((2, 3))))


@pytest.fixture
def build_run(tmp_path: Path) -> Callable[..., Run]:
    """Makes the same run again and again, each in a directory of its own."""
    made = []

    def build(
        optimizer: str = "sgd",
        *,
        epochs: int = EPOCHS,
        decay: float | None = 0.9,
        learning_rate: float = 0.05,
        checkpoint_every: int | None = None,
        directory: Path | None = None,
    ) -> Run:
        data = ImageData(
            name="digits",
            image_size=16,
            batch_size=BATCH,
            num_workers=0,
            crop="shift",
            shift=2,
            flip=False,
            color_distortion=False,
            seed=3,
        )
        data.setup()
        data.train_source = Subset(open_digits("train"), torch.arange(IMAGES).numpy())
        data.evaluation_source = Subset(open_digits("evaluation"), torch.arange(20).numpy())
        torch.manual_seed(1)
        model = SmallNetwork()
        steps = epochs * data.steps_per_epoch
        classifier = Classifier(
            model,
            data.preprocessing,
            nn.CrossEntropyLoss(),
            build_optimizer=lambda groups: OPTIMIZERS[optimizer](groups),
            parameter_groups=parameter_groups(model, weight_decay=0.01, layer_decay=0.5),
            learning_rate=learning_rate,
            schedule=exponential(factor=0.5, every=1.0, staircase=False),
            batch_size=BATCH,
            samples_per_epoch=data.steps_per_epoch * BATCH,
            total_samples=steps * BATCH,
            seed=5,
        )
        made.append(directory or tmp_path / f"run-{len(made)}")
        made[-1].mkdir(exist_ok=True)
        return Run(classifier, data, RunDirectory(made[-1]), decay, checkpoint_every, steps)

    return build
