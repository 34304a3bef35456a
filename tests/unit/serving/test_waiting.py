"""What waits is bounded, and is given up when nobody waits for it any more."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from xception.serving.application import create_application
from xception.serving.service import Limits, OverloadedError, Service


@pytest.fixture
def service(loaded):
    return Service(loaded, device="cpu", limits=Limits(batch_size=4))


def until(reached):
    """Waits for what another thread will do."""
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_predict_refuses_with_503_while_too_many_wait(loaded, pictures):
    service = Service(loaded, device="cpu", limits=Limits(batch_size=1, queue_size=2))
    right, go_on = service._batcher._classify, threading.Event()

    def wait(crops, k):
        assert go_on.wait(30)
        return right(crops, k)

    service._batcher._classify = wait
    with (
        TestClient(create_application(service)) as client,
        ThreadPoolExecutor(2) as others,
    ):
        ask = lambda: client.post("/predict", content=pictures[0]).status_code  # noqa: E731
        in_the_network = others.submit(ask)
        until(lambda: service.statistics.text().find(b"xception_batch_images_sum 1.0") > 0)
        in_the_queue = others.submit(ask)
        until(lambda: service.waiting == 1)
        answer = client.post("/predict", files=[("image", ("i.png", pictures[0]))] * 2)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert answer.json() == {"error": "2 images are waiting already; try again later"}
        until(lambda: service.waiting == 1)  # the form's first image has left the queue
        go_on.set()
        assert (in_the_network.result(30), in_the_queue.result(30)) == (200, 200)
    counts = [service.statistics.count(name) for name in ("classified", "refused", "abandoned")]
    assert counts == [2, 1, 1]


def test_predict_refuses_a_form_that_the_queue_could_never_take(loaded, pictures):
    service = Service(loaded, device="cpu", limits=Limits(queue_size=2))
    with TestClient(create_application(service)) as client:
        files = [("image", ("i.png", pictures[0]))] * 3
        assert client.post("/predict", files=files[:2]).status_code == 200
        answer = client.post("/predict", files=files)
    assert answer.status_code == 400  # 503 would have it tried again
    assert "Maximum number of files is 2;" in answer.json()["error"]


GONE = {"type": "http.disconnect"}
POST = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": []}


async def nothing(message):
    pass


def test_predict_refuses_with_503_while_too_many_requests_are_read(service, monkeypatch):
    monkeypatch.setattr("xception.serving.application.MOST_REQUESTS", 1)

    async def scenario():
        application, statuses = create_application(service), []
        go_on = asyncio.Event()

        def slow():
            left = [{"type": "http.request", "body": b"no image", "more_body": False}]

            async def receive():
                await go_on.wait()
                return left.pop() if left else await asyncio.Event().wait()

            return receive

        async def send(message):
            statuses.append(message.get("status"))

        async with service.running():
            first = asyncio.create_task(application(POST, slow(), send))
            await asyncio.sleep(0)
            await application(POST, slow(), send)
            assert statuses == [503, None]
            go_on.set()
            await first
            await application(POST, slow(), send)
            assert statuses == [503, None, 400, None, 400, None]

    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize("kind", [b"image/png", b"multipart/form-data; boundary=B"])
def test_predict_is_silent_where_a_client_goes_away_while_it_sends(service, kind):
    async def scenario():
        application = create_application(service)
        scope = {**POST, "headers": [(b"content-type", kind)]}
        messages = [GONE, {"type": "http.request", "body": b"--B\r\n", "more_body": True}]

        async def receive():
            return messages.pop()

        async with service.running():
            await application(scope, receive, nothing)  # raises nothing

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_predict_gives_up_an_image_whose_client_goes_away_while_it_waits(service, pictures):
    right, go_on, batches = service._batcher._classify, threading.Event(), []

    def wait(crops, k):
        batches.append(len(crops))
        assert go_on.wait(30)
        return right(crops, k)

    service._batcher._classify = wait

    async def scenario():
        application = create_application(service)
        messages = [{"type": "http.request", "body": pictures[0], "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            while not service._batcher.waiting:
                await asyncio.sleep(0.01)
            return GONE

        async with service.running():
            in_the_network = asyncio.create_task(service.predict("first", pictures[0], 1))
            while not batches:
                await asyncio.sleep(0.01)
            await application(POST, receive, nothing)
            while service.waiting:
                await asyncio.sleep(0.01)
            go_on.set()
            assert (await in_the_network).error is None

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert batches == [1]
    assert service.statistics.count("abandoned") == 1
    assert service.statistics.count("classified") == 1


def test_an_image_that_waits_to_be_decoded_counts_as_one_that_waits(loaded, pictures):
    service = Service(loaded, device="cpu", limits=Limits(queue_size=2))
    right, go_on = service._crop, threading.Event()

    def wait(encoded):
        assert go_on.wait(30)
        return right(encoded)

    service._crop = wait

    async def scenario():
        async with service.running():
            first, second = (
                asyncio.create_task(service.predict("i", encoded, 1)) for encoded in pictures[:2]
            )
            await asyncio.sleep(0)
            assert service.waiting == 2
            with pytest.raises(OverloadedError, match="2 images are waiting already"):
                await service.predict("i", pictures[2], 1)
            second.cancel()
            await asyncio.sleep(0)
            assert service.waiting == 1
            go_on.set()
            assert (await first).error is None
            assert (await service.predict("i", b"no image", 1)).error
            assert service.waiting == 0

    asyncio.run(asyncio.wait_for(scenario(), 60))
    names = ("classified", "unreadable", "refused", "abandoned", "failed")
    assert [service.statistics.count(name) for name in names] == [1, 1, 1, 1, 0]
