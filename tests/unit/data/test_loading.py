import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xception.data.loading import EvaluationLoader, TrainingLoader
from xception.data.preprocessing import Preprocessing
from xception.data.sources import ArraySource
from xception.data.transforms import TrainingTransform
from xception.errors import InputError

AUGMENT = TrainingTransform(size=8, crop="shift", shift=2, cutout=3)
KEEP = TrainingTransform(size=8, crop="none", flip=False, brightness=0, saturation=None)


def same(a, b) -> bool:
    return (
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.indices, b.indices)
        and a.skipped == b.skipped
    )


def all_same(first, second) -> bool:
    first, second = list(first), list(second)
    return len(first) == len(second) > 0 and all(map(same, first, second))


def test_training_loader_yields_each_sample_at_most_once_an_epoch(numbered):
    loader = TrainingLoader(numbered(23), KEEP, batch_size=5)
    assert len(loader) == loader.steps_per_epoch == 4
    epochs = [list(loader) for _ in range(6)]
    for batches in epochs:
        assert [len(b.labels) for b in batches] == [5] * 4
        indices = torch.cat([b.indices for b in batches])
        assert len(indices.unique()) == 20
        for batch in batches:
            assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.indices)
            assert torch.equal(batch.labels, batch.indices % 3)
    assert loader.samples_seen == 6 * 20
    # What an epoch leaves out differs: over six epochs every sample has come.
    assert len(torch.cat([b.indices for e in epochs for b in e]).unique()) == 23


@pytest.mark.parametrize("stop", [1, 3, 4, 6, 11])
def test_training_loader_goes_on_in_the_middle_of_an_epoch(numbered, stop):
    def endless(loader):
        while True:
            yield from loader

    undisturbed = list(
        itertools.islice(endless(TrainingLoader(numbered(23), AUGMENT, batch_size=5)), 15)
    )
    first = TrainingLoader(numbered(23), AUGMENT, batch_size=5)
    before = list(itertools.islice(endless(first), stop))
    state = first.state_dict()
    assert state == {"samples_seen": stop * 5}
    second = TrainingLoader(numbered(23), AUGMENT, batch_size=5)
    second.load_state_dict(state)
    after = list(itertools.islice(endless(second), 15 - stop))
    assert all_same(undisturbed, before + after)


def test_training_loader_counts_a_batch_when_it_is_handed_out(numbered):
    loader = TrainingLoader(numbered(24), KEEP, batch_size=6, accumulation=3, world_size=2)
    seen = [loader.samples_seen for _ in loader]
    assert seen == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]
    loader.samples_seen = 8  # in the middle of a global batch: from that batch's beginning
    assert len(list(loader)) == 3 * 3
    assert loader.samples_seen == 24


def test_training_loader_gives_the_same_on_any_number_of_workers(numbered):
    expected = None
    for workers in (0, 1, 2):
        loader = TrainingLoader(numbered(40), AUGMENT, batch_size=6, num_workers=workers)
        found = [*loader, *loader]  # two epochs
        expected = expected or found
        assert all_same(expected, found)


def test_training_loader_with_workers_can_be_left_and_set_back(numbered):
    loader = TrainingLoader(numbered(40), AUGMENT, batch_size=4, num_workers=2)
    expected = list(TrainingLoader(numbered(40), AUGMENT, batch_size=4, samples_seen=12))
    for _ in itertools.islice(loader, 5):
        pass
    assert loader.samples_seen == 20
    loader.samples_seen = 12
    assert all_same(loader, expected)


@settings(max_examples=30, deadline=None)
@given(
    world_size=st.integers(1, 4),
    accumulation=st.integers(1, 3),
    size=st.integers(1, 3),
    seen=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_training_loader_slices_the_same_global_batches(
    numbered_source, world_size, accumulation, size, seen, seed
):
    batch_size = world_size * accumulation * size
    common = {"batch_size": batch_size, "seed": seed, "samples_seen": seen * batch_size}
    whole = list(TrainingLoader(numbered_source, AUGMENT, **common))
    parts = [
        list(
            TrainingLoader(
                numbered_source,
                AUGMENT,
                **common,
                world_size=world_size,
                rank=rank,
                accumulation=accumulation,
            )
        )
        for rank in range(world_size)
    ]
    assert {len(part) for part in parts} == {len(whole) * accumulation}
    for step, batch in enumerate(whole):
        slices = [
            parts[rank][step * accumulation + part]
            for part in range(accumulation)
            for rank in range(world_size)
        ]
        for field in ("images", "labels", "indices"):
            together = torch.cat([getattr(s, field) for s in slices])
            assert torch.equal(together, getattr(batch, field))


@pytest.fixture(scope="module")
def numbered_source() -> ArraySource:
    values = torch.arange(80, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    return ArraySource(values.contiguous(), [0] * 80, ["a"])


def test_training_loader_changes_its_processes_in_the_middle_of_a_run(numbered_source):
    expected = list(TrainingLoader(numbered_source, AUGMENT, batch_size=6))
    three = [
        TrainingLoader(numbered_source, AUGMENT, batch_size=6, world_size=3, rank=r)
        for r in range(3)
    ]
    before = [list(itertools.islice(loader, 5)) for loader in three]
    two = [
        TrainingLoader(
            numbered_source,
            AUGMENT,
            batch_size=6,
            world_size=2,
            rank=r,
            samples_seen=three[r].samples_seen,
        )
        for r in range(2)
    ]
    after = [list(loader) for loader in two]
    images = [
        torch.cat([b.images for b in s])
        for s in (*zip(*before, strict=True), *zip(*after, strict=True))
    ]
    assert len(images) == len(expected)
    assert all(torch.equal(a, b.images) for a, b in zip(images, expected, strict=True))


def test_training_loader_augments_anew_each_epoch(numbered):
    loader = TrainingLoader(numbered(8), AUGMENT, batch_size=8, seed=1)
    by_epoch = []
    for _ in range(2):
        (batch,) = list(loader)
        by_epoch.append(batch.images[batch.indices.argsort()])
    assert not torch.equal(*by_epoch)
    other = TrainingLoader(numbered(8), AUGMENT, batch_size=8, seed=2)
    (batch,) = list(other)
    assert not torch.equal(batch.images[batch.indices.argsort()], by_epoch[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_leave_the_global_random_numbers_alone(numbered, workers):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    list(TrainingLoader(numbered(12), AUGMENT, batch_size=4, num_workers=workers))
    prepare = Preprocessing(size=8)
    list(EvaluationLoader(numbered(12), prepare, batch_size=4, num_workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"batch_size": 11}, "has 10 images, fewer than one batch of 11; .* to 10 or less"),
        (
            {"batch_size": 9, "world_size": 2},
            "9 images .* 2 processes x 1 .* multiple of 2, such as 8",
        ),
        (
            {"batch_size": 8, "world_size": 2, "accumulation": 3},
            "8 .* 2 processes x 3 .* such as 6",
        ),
        ({"batch_size": 0}, "global batch of 0"),
    ],
)
def test_training_loader_refuses(numbered, arguments, told):
    with pytest.raises(InputError, match=told):
        TrainingLoader(numbered(10), KEEP, **arguments)


@settings(max_examples=60, deadline=None)
@given(total=st.integers(1, 60), batch_size=st.integers(1, 9), world_size=st.integers(1, 5))
def test_evaluation_loader_gives_every_image_once(numbered_source, total, batch_size, world_size):
    source = ArraySource(numbered_source.images[:total], [0] * total, ["a"])
    loaders = [
        EvaluationLoader(
            source, Preprocessing(size=8), batch_size=batch_size, world_size=world_size, rank=rank
        )
        for rank in range(world_size)
    ]
    ranks = [list(loader) for loader in loaders]
    assert {len(batches) for batches in ranks} == {len(loader) for loader in loaders}
    for batches in zip(*ranks, strict=True):
        sizes = {len(batch.labels) for batch in batches}
        assert len(sizes) == 1
        assert max(sizes) <= batch_size
    everything = [batch for batches in ranks for batch in batches]
    indices = torch.cat([batch.indices for batch in everything])
    labels = torch.cat([batch.labels for batch in everything])
    images = torch.cat([batch.images for batch in everything])
    assert sorted(indices[indices >= 0].tolist()) == list(range(total))
    assert torch.equal(labels < 0, indices < 0)
    assert torch.equal(images[:, 0, 0, 0][indices >= 0].long(), indices[indices >= 0])
    assert (images[indices < 0] == 0).all()


def test_evaluation_loader_refuses_an_empty_batch(numbered):
    with pytest.raises(InputError, match="evaluation batch is 0"):
        EvaluationLoader(numbered(3), Preprocessing(size=8), batch_size=0)
