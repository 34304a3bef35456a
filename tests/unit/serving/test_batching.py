import asyncio
import threading

import torch

from xception.inference.classification import MostProbable
from xception.serving.batching import Batcher


class Network:
    """Answers a crop of value v with the classes v, v + 1, …; stops while it is held."""

    def __init__(self):
        self.batches, self.go_on = [], threading.Event()
        self.go_on.set()
        self.began = threading.Event()

    def __call__(self, crops, k):
        self.batches.append(([int(crop) for crop in crops], k))
        self.began.set()
        assert self.go_on.wait(30)
        if any(crop == 99 for crop in crops):
            raise RuntimeError("no memory")
        return [
            MostProbable([int(crop) + i for i in range(k)], [1 / (i + 1) for i in range(k)])
            for crop in crops
        ]


def crop(value):
    return torch.tensor(value)


async def held(network, batcher, value=0):
    """Sends an image and waits until the network works on it, which it does until told."""
    network.go_on.clear()
    first = asyncio.create_task(batcher.classify(crop(value), 1))
    await asyncio.to_thread(network.began.wait, 30)
    return first


def run(scenario, **limits):
    network = Network()

    async def whole():
        batcher = Batcher(network, **{"batch_size": 8, **limits})
        async with batcher.running():
            return await asyncio.wait_for(scenario(network, batcher), 60)

    return network, asyncio.run(whole())


def test_batcher_answers_a_lone_image_at_once():
    network, row = run(lambda _, batcher: batcher.classify(crop(5), 2))
    assert network.batches == [([5], 2)]
    assert row == MostProbable([5, 6], [1, 0.5])


def test_batcher_takes_together_what_waits_and_gives_each_its_own():
    async def scenario(network, batcher):
        first = await held(network, batcher)
        rest = [asyncio.create_task(batcher.classify(crop(value), value)) for value in (1, 2, 3)]
        await asyncio.sleep(0)
        assert batcher.waiting == 3
        network.go_on.set()
        return await asyncio.gather(first, *rest)

    network, rows = run(scenario)
    assert network.batches == [([0], 1), ([1, 2, 3], 3)]  # at the greatest k of the batch
    assert [row.indices for row in rows] == [[0], [1], [2, 3], [3, 4, 5]]
    assert [len(row.probabilities) for row in rows] == [1, 1, 2, 3]


def test_batcher_splits_what_waits_into_batches_in_the_order_of_arrival():
    sizes = []

    async def scenario(network, batcher):
        first = await held(network, batcher)
        rest = [asyncio.create_task(batcher.classify(crop(value), 1)) for value in range(1, 6)]
        await asyncio.sleep(0)
        network.go_on.set()
        await asyncio.gather(first, *rest)

    network, _ = run(scenario, batch_size=2, observe=sizes.append)
    assert [values for values, _ in network.batches] == [[0], [1, 2], [3, 4], [5]]
    assert sizes == [1, 2, 2, 1]


def test_batcher_hands_an_error_to_the_images_of_its_batch_alone():
    async def scenario(network, batcher):
        first = await held(network, batcher)
        rest = [asyncio.create_task(batcher.classify(crop(value), 1)) for value in (99, 1, 2)]
        await asyncio.sleep(0)
        network.go_on.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    _, found = run(scenario, batch_size=2)
    assert [type(one) for one in found] == [MostProbable, RuntimeError, RuntimeError, MostProbable]


def test_batcher_goes_on_after_an_error_in_a_batch_whose_client_has_gone():
    async def scenario(network, batcher):
        gone = await held(network, batcher, value=99)  # which it fails on
        gone.cancel()
        await asyncio.sleep(0)
        network.go_on.set()
        return await batcher.classify(crop(7), 1)

    _, row = run(scenario)
    assert row.indices == [7]


def test_batcher_leaves_out_an_image_whose_client_has_gone():
    async def scenario(network, batcher):
        first = await held(network, batcher)
        gone = asyncio.create_task(batcher.classify(crop(1), 1))
        stays = asyncio.create_task(batcher.classify(crop(2), 1))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        assert batcher.waiting == 1
        network.go_on.set()
        await asyncio.gather(first, stays)

    network, _ = run(scenario)
    assert [values for values, _ in network.batches] == [[0], [2]]


def test_batcher_goes_on_after_a_client_has_gone_in_the_middle_of_its_batch():
    async def scenario(network, batcher):
        first = await held(network, batcher)
        first.cancel()
        network.go_on.set()
        return await batcher.classify(crop(7), 1)

    _, row = run(scenario)
    assert row.indices == [7]
