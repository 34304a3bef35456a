import numpy as np
import pytest
import torch

from xception.data.decoding import UnreadableImageError
from xception.data.preprocessing import Preprocessing
from xception.data.sources import ArraySource
from xception.inference import Evaluation


class LogitsInPixels(torch.nn.Module):
    """A classifier whose logits are the first pixels of the image: every answer is known."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = 3
        self.batches: list[int] = []

    def forward(self, images):
        self.batches.append(len(images))
        assert not self.training
        assert not torch.is_grad_enabled()
        return images[:, 0].flatten(1)[:, : self.num_classes] * 10


class WithUnreadable(ArraySource):
    """An array whose images number ``bad`` can't be read."""

    bad: tuple[int, ...] = ()

    def __getitem__(self, index):
        if index in self.bad:
            raise UnreadableImageError("the file is truncated")
        return super().__getitem__(index)


@pytest.fixture
def whole_image():
    return Preprocessing(size=4, crop_fraction=1.0)


@pytest.fixture
def logits_in_pixels():
    return LogitsInPixels


@pytest.fixture
def make_source():
    """Images whose first pixels are random; returns the source and its logits."""

    def make(n: int, num_classes: int, *, bad=(), seed=0):
        generator = np.random.default_rng(seed)
        images = torch.from_numpy(generator.integers(0, 256, (n, 3, 4, 4), dtype=np.uint8))
        labels = generator.integers(0, num_classes, n)
        source = WithUnreadable(images, labels, [f"class {i}" for i in range(num_classes)])
        source.bad = tuple(bad)
        logits = (images[:, 0].flatten(1)[:, :num_classes].double() / 127.5 - 1) * 10
        return source, logits.numpy()

    return make


@pytest.fixture
def three_images():
    """Two right, one wrong, of two classes."""
    return Evaluation(
        class_names=["cat", "dog"],
        indices=np.array([0, 1, 3]),
        labels=np.array([0, 1, 1]),
        predictions=np.array([0, 1, 0]),
        probabilities=np.array([0.9, 0.8, 0.6], np.float32),
        ranks=np.array([0, 0, 1]),
        losses=-np.log([0.9, 0.8, 0.4]),
        skipped=[(2, "cat/2.jpg: the file is truncated")],
    )
