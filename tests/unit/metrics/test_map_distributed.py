"""Processes on loopback that share one evaluation get the figure of one process, to the bit."""

import socket
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from xception.metrics import (
    SparseTargets,
    WeightedMeanAveragePrecision,
    weighted_mean_average_precision,
)

NUM_CLASSES, K, BATCH = 30, 7, 4
WEIGHTS = [1.0 + c % 5 for c in range(NUM_CLASSES)]


def _evaluation(num_images):
    """Coarse scores, so that ties within an image and between images are common."""
    generator = torch.Generator().manual_seed(num_images)
    scores = torch.randint(12, (num_images, NUM_CLASSES), generator=generator).float()
    labels = [
        torch.randperm(NUM_CLASSES, generator=generator)[: i % 6].tolist()
        for i in range(num_images)
    ]
    return scores, labels


def _padded_shard(num_images, rank, world):
    """As torch's DistributedSampler: equal shares, filled by repeating images from the start."""
    share = -(-num_images // world)
    return [i % num_images for i in range(share * world)][rank::world]


def _figures(metric):
    result = metric.result()
    return {
        "image": result.per_image_map,
        "class": result.per_class_map,
        "computed": float(metric.compute()),
        "num_images": result.num_images,
        "num_duplicates": result.num_duplicates,
        "positives": result.class_positives.tolist(),
        "per_class": result.class_average_precision.nan_to_num(-1).tolist(),
    }


def _evaluate(num_images, indices, with_keys=True):
    scores, labels = _evaluation(num_images)
    metric = WeightedMeanAveragePrecision(k=K, class_weights=WEIGHTS)
    for start in range(0, len(indices), BATCH):
        rows = indices[start : start + BATCH]
        metric.update(
            scores[rows],
            SparseTargets.from_lists([labels[row] for row in rows]),
            keys=torch.tensor(rows) if with_keys else None,
        )
    return metric


def _process(rank, world, port, results):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    found = {}
    for num_images in (23, 2):
        found[num_images] = _figures(_evaluate(num_images, _padded_shard(num_images, rank, world)))
    # No padding: with two images, the last of three processes has none.
    found["uneven"] = _figures(_evaluate(2, list(range(2))[rank::world]))
    found["no keys"] = _figures(_evaluate(23, _padded_shard(23, rank, world), with_keys=False))
    metric = _evaluate(23, _padded_shard(23, rank, world))
    before = len(metric.keys)
    found["local again"] = _figures(metric)["num_images"] == 23 and len(metric.keys) == before
    results[rank] = found
    dist.destroy_process_group()


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module", params=[2, 3])
def gathered(request):
    """What every process of a world of 2 and of 3 found."""
    world = request.param
    with mp.get_context("spawn").Manager() as manager:
        results = manager.dict()
        mp.spawn(_process, args=(world, _free_port(), results), nprocs=world)
        return world, dict(results)


def _alone(num_images):
    scores, labels = _evaluation(num_images)
    result = weighted_mean_average_precision(
        scores,
        SparseTargets.from_lists(labels),
        k=K,
        class_weights=WEIGHTS,
        keys=torch.arange(num_images),
    )
    return result


@pytest.mark.parametrize("num_images", [23, 2])
def test_padded_shards_give_the_figure_of_one_process(gathered, num_images):
    world, results = gathered
    alone = _alone(num_images)
    padding = -num_images % world
    for rank in range(world):
        found = results[rank][num_images]
        assert found["image"] == alone.per_image_map  # equal to the last bit
        assert found["class"] == alone.per_class_map
        assert found["computed"] == pytest.approx(alone.value, abs=1e-7)  # float32
        assert found["positives"] == alone.class_positives.tolist()
        assert found["per_class"] == alone.class_average_precision.nan_to_num(-1).tolist()
        assert (found["num_images"], found["num_duplicates"]) == (num_images, padding)


def test_a_process_without_images_takes_part(gathered):
    world, results = gathered
    alone = _alone(2)
    for rank in range(world):
        assert results[rank]["uneven"]["image"] == alone.per_image_map
        assert results[rank]["uneven"]["num_images"] == 2


def test_padding_without_keys_would_change_the_figure(gathered):
    _, results = gathered  # 23 is divided by neither 2 nor 3: the tests above mean something
    assert results[0]["no keys"]["num_images"] == 24
    assert results[0]["no keys"]["class"] != _alone(23).per_class_map


def test_gathering_leaves_the_local_state(gathered):
    _, results = gathered
    assert all(found["local again"] for found in results.values())
