"""Multi-label batches: the labels follow their images through every loader."""

import numpy as np
import pytest
import torch

from xception.data.cache import CachedSource, is_in_memory
from xception.data.decoding import UnreadableImageError
from xception.data.digit_scenes import open_digit_scenes
from xception.data.digits import open_digits
from xception.data.loading import EvaluationLoader, TrainingLoader
from xception.data.multi_label import MultiLabelArrays
from xception.data.preprocessing import Preprocessing
from xception.data.sources import require_one_label
from xception.data.targets import BatchTargets, ImageTargets, SparseLabels, collate_targets
from xception.data.transforms import TrainingTransform
from xception.errors import InputError

PLAIN = TrainingTransform(size=8, crop="none", flip=False, brightness=0, saturation=None)
COUNT = 11


class Numbered(MultiLabelArrays):
    """Image i is filled with i and has the bits of i as its labels; image 5 can't be read."""

    def __init__(self, *, absent=False):
        values = torch.arange(COUNT, dtype=torch.uint8)[:, None, None, None]
        bits = [[b for b in range(4) if i >> b & 1] for i in range(COUNT)]
        others = [[3 - b for b in row if 3 - b not in row] for row in bits]
        labels = SparseLabels.from_lists(bits, 4, absent_ids=others if absent else None)
        super().__init__(values.expand(-1, 3, 8, 8).contiguous(), labels, list("abcd"))

    def __getitem__(self, index):
        if index == 5:
            raise UnreadableImageError("broken")
        return super().__getitem__(index)


def lists(targets):
    return [part.tolist() for part in targets.class_ids.split(targets.offsets.diff().tolist())]


def bits_of(images):
    return [[b for b in range(4) if int(image[0, 0, 0]) >> b & 1] for image in images]


@pytest.mark.parametrize("workers", [0, 2])
def test_labels_belong_to_the_images_of_the_batch(workers):
    loader = TrainingLoader(Numbered(), PLAIN, batch_size=5, num_workers=workers)
    for batch in loader:
        assert lists(batch.targets) == bits_of(batch.images)
        assert batch.labels.tolist() == [0] * 5
        assert 5 not in batch.indices
    loader.close()


def test_two_processes_see_the_halves_of_one():
    def batches(**where):
        loader = TrainingLoader(Numbered(), PLAIN, batch_size=4, seed=7, **where)
        return [(b.images, lists(b.targets)) for b in loader]

    whole = batches()
    halves = [batches(world_size=2, rank=rank) for rank in (0, 1)]
    for (images, labels), first, second in zip(whole, *halves, strict=True):
        assert torch.equal(images, torch.cat([first[0], second[0]]))
        assert labels == first[1] + second[1]


def test_evaluation_pads_with_images_that_have_no_labels():
    seen = []
    for rank in (0, 1):
        loader = EvaluationLoader(
            Numbered(), Preprocessing(size=8), batch_size=4, world_size=2, rank=rank
        )
        for batch in loader:
            counted = batch.labels >= 0
            kept = batch.targets.select(counted)
            assert lists(kept) == bits_of(batch.images[counted])
            assert len(kept.offsets) == int(counted.sum()) + 1
            assert kept.class_ids.equal(batch.targets.class_ids)
            seen += batch.indices[counted].tolist()
    assert sorted(seen) == [i for i in range(COUNT) if i != 5]


def test_annotated_classes_are_those_present_and_those_absent():
    batch = next(iter(TrainingLoader(Numbered(absent=True), PLAIN, batch_size=4)))
    offsets, ids = batch.targets.annotated
    found = [sorted(part.tolist()) for part in ids.split(offsets.diff().tolist())]
    for row, present in zip(found, bits_of(batch.images), strict=True):
        assert row == sorted({*present, *(3 - b for b in present)})
    chosen = torch.tensor([True, False, True, True])
    offsets, ids = batch.targets.select(chosen).annotated
    assert [sorted(p.tolist()) for p in ids.split(offsets.diff().tolist())] == [
        found[0],
        *found[2:],
    ]


def test_weights_are_one_where_only_other_images_have_some():
    weighted = ImageTargets(np.array([1, 2]), np.array([0.5, 3.0], np.float32))
    batch = collate_targets([ImageTargets(np.array([0])), weighted, None])
    assert batch.weights.tolist() == [1.0, 0.5, 3.0]
    assert batch.rows.tolist() == [0, 1, 1]
    assert batch.annotated is None
    assert isinstance(batch, BatchTargets)


def test_cached_images_keep_their_labels():
    cached = CachedSource(Numbered())
    for _ in range(2):
        assert cached[9][1].class_ids.tolist() == [0, 3]
        assert cached[3][1].class_ids.tolist() == [0, 1]
    assert is_in_memory(cached)
    assert is_in_memory(Numbered())
    with pytest.raises(InputError, match="several labels"):
        require_one_label(cached)


def test_digit_scenes_hold_the_scans_that_their_labels_name():
    scenes = open_digit_scenes("evaluation")
    again = open_digit_scenes.__wrapped__("evaluation")
    assert torch.equal(scenes.images, again.images)
    # the number of quarters that are not black bounds the number of different digits
    quarters = scenes.images.float().unfold(2, 16, 16).unfold(3, 16, 16).amax((1, 4, 5)).flatten(1)
    filled = (quarters > 0).sum(1).numpy()
    counts = np.diff(scenes.labels.present.offsets)
    assert filled.min() == 1
    assert filled.max() == 4
    assert (counts <= filled).all()
    assert (counts == filled).mean() > 0.5
    # Where a single digit stands, its nearest scan has the label (both cut out and shrunk to 8x8).
    scans = open_digits("evaluation")
    known = torch.stack([shrunk(scan[0]) for scan in scans.images])
    single = np.flatnonzero(filled == 1)
    right = 0
    for index in single:
        nearest = (known - shrunk(scenes.images[index, 0])).square().sum(1).argmin()
        right += scans.labels[nearest] in scenes[int(index)][1].class_ids
    assert right >= 0.9 * len(single)


def shrunk(grey):
    """What is lit of a picture, as 64 numbers."""
    lit = grey > 40
    rows, columns = lit.any(1).nonzero()[:, 0], lit.any(0).nonzero()[:, 0]
    cut = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].float()
    return torch.nn.functional.interpolate(cut[None, None], (8, 8), mode="area").flatten()
