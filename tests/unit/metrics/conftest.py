import pytest
import torch

from xception.metrics import SparseTargets


@pytest.fixture
def make_batch():
    """Scores and sparse targets of a few random images, seeded."""

    def make(num_images, num_classes, seed=0, labels_per_image=3):
        generator = torch.Generator().manual_seed(seed)
        scores = torch.randn(num_images, num_classes, generator=generator)
        lists = [
            torch.randperm(num_classes, generator=generator)[: i % (labels_per_image + 1)].tolist()
            for i in range(num_images)
        ]
        return scores, SparseTargets.from_lists(lists)

    return make
