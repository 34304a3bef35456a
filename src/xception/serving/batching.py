"""Images that wait at the same time go through the network together.

There is no time that an image waits for others: while the network works on one batch the next one
gathers, so that batches are as large as the load makes them and a lone image is answered at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from torch import Tensor

from xception.inference.classification import MostProbable

Classify = Callable[[Sequence[Tensor], int], list[MostProbable]]
"""From crops and k to the k most probable classes of each."""


@dataclass
class _Waiting:
    crop: Tensor
    k: int
    answer: "asyncio.Future[MostProbable]"


class Batcher:
    """Gathers crops and runs one batch after the other in a thread of its own.

    Args:
        classify: Runs a batch.
        batch_size: Most images of a batch, at least 1.
        observe: Told the size of each batch before it runs.
    """

    def __init__(
        self,
        classify: Classify,
        *,
        batch_size: int,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._classify = classify
        self._batch_size = batch_size
        self._observe = observe
        self._waiting: list[_Waiting] = []
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many images wait for the network, without those whose client has gone."""
        return sum(1 for _ in _unanswered(self._waiting))

    async def classify(self, crop: Tensor, k: int) -> MostProbable:
        """Waits for an image's turn.

        Args:
            crop: (3, S, S) uint8.
            k: How many classes, 1 to the number that there are.

        Raises:
            Exception: Whatever the network raises on the image's batch.
        """
        own = _Waiting(crop, k, asyncio.get_running_loop().create_future())
        self._waiting.append(own)
        self._arrived.set()
        return await own.answer

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answers for as long as the block lasts; a batch that has begun is finished."""
        with ThreadPoolExecutor(1, thread_name_prefix="network") as thread:
            loop = asyncio.create_task(self._run(thread))
            try:
                yield
            finally:
                loop.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await loop

    async def _run(self, thread: ThreadPoolExecutor) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            self._observe(len(batch))
            crops, k = [one.crop for one in batch], max(one.k for one in batch)
            try:
                rows = await asyncio.get_running_loop().run_in_executor(
                    thread, self._classify, crops, k
                )
            except Exception as error:
                for one in _unanswered(batch):
                    one.answer.set_exception(error)
                continue
            for one, row in zip(batch, rows, strict=True):
                if not one.answer.done():
                    one.answer.set_result(
                        MostProbable(row.indices[: one.k], row.probabilities[: one.k])
                    )

    def _take(self) -> list[_Waiting]:
        """The images that have waited longest; those whose client has gone are left out."""
        self._waiting = list(_unanswered(self._waiting))
        batch, self._waiting = (
            self._waiting[: self._batch_size],
            self._waiting[self._batch_size :],
        )
        return batch


def _unanswered(images: Sequence[_Waiting]) -> Iterator[_Waiting]:
    return (one for one in images if not one.answer.done())
