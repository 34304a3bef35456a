import logging

import pytest
import torch

from xception.data.decoding import UnreadableImageError
from xception.data.loading import EvaluationLoader, TrainingLoader
from xception.data.preprocessing import Preprocessing
from xception.data.sources import ArraySource
from xception.data.transforms import TrainingTransform
from xception.errors import InputError

KEEP = TrainingTransform(size=8, crop="none", flip=False, brightness=0, saturation=None)


class Damaged:
    """A source in which some images can't be read."""

    def __init__(self, source: ArraySource, bad: set[int]) -> None:
        self.source, self.bad = source, bad
        self.labels, self.class_names = source.labels, source.class_names

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int):
        if index in self.bad:
            raise UnreadableImageError("the file is truncated")
        return self.source[index]

    def describe(self, index: int) -> str:
        return f"picture {index}"


@pytest.mark.parametrize("workers", [0, 2])
def test_training_loader_replaces_unreadable_samples_by_the_next(numbered, caplog, workers):
    (undamaged,) = list(TrainingLoader(numbered(20), KEEP, batch_size=20, seed=3))
    whole = undamaged.indices.tolist()
    bad = {whole[4], whole[5], whole[19]}
    source = Damaged(numbered(20), bad)
    loader = TrainingLoader(source, KEEP, batch_size=20, seed=3, num_workers=workers)
    with caplog.at_level(logging.WARNING):
        (batch,) = list(loader)
    expected = whole.copy()
    expected[4] = expected[5] = whole[6]
    expected[19] = whole[0]  # the one after the last is the first
    assert batch.indices.tolist() == expected
    assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.indices)
    assert set(batch.skipped) == {(i, f"picture {i}: the file is truncated") for i in bad}
    assert set(loader.unreadable) == bad
    assert loader.samples_seen == 20  # the places count, not the images
    list(loader)  # again, in another order: each is counted and logged once
    assert len(loader.unreadable) == 3
    assert sum("picture" in record.message for record in caplog.records) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_training_loader_stops_past_the_limit(numbered, workers):
    source = Damaged(numbered(20), {1, 2, 3})
    list(TrainingLoader(source, KEEP, batch_size=20, max_unreadable=3))
    loader = TrainingLoader(source, KEEP, batch_size=20, max_unreadable=2, num_workers=workers)
    with pytest.raises(InputError, match=r"^3 training images .* picture \d: .*max_unreadable = 2"):
        list(loader)


def test_training_loader_stops_when_nothing_can_be_read(numbered):
    source = Damaged(numbered(6), set(range(6)))
    with pytest.raises(InputError, match="6 training images can't be read"):
        list(TrainingLoader(source, KEEP, batch_size=3))


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_loader_marks_unreadable_images(numbered, workers):
    source = Damaged(numbered(7), {2, 6})
    loader = EvaluationLoader(source, Preprocessing(size=8), batch_size=4, num_workers=workers)
    for _ in range(2):  # it can be used again
        batches = list(loader)
        labels = torch.cat([b.labels for b in batches]).tolist()
        assert labels == [0, 1, -1, 0, 1, 2, -1]
        assert [b.indices.tolist() for b in batches] == [[0, 1, 2, 3], [4, 5, 6]]
        skipped = [s for b in batches for s in b.skipped]
        assert skipped == [(i, f"picture {i}: the file is truncated") for i in (2, 6)]
