"""A model that answers many askers at once: decoding, its queue, its figures; no HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xception.data.decoding import decode_image
from xception.data.worker_process import cpu_cores
from xception.errors import InputError
from xception.inference.classes import require_classifier
from xception.inference.classification import (
    MostProbable,
    Prediction,
    most_probable,
    names_of,
    prediction_of,
)
from xception.inference.devices import choose_device
from xception.serving.batching import Batcher
from xception.serving.statistics import Statistics
from xception.weights.files import LoadedModel

MOST_DECODERS = 4
"""Threads that decode: an image takes up to 25 bytes a pixel meanwhile."""


@dataclass(frozen=True)
class Limits:
    """What a service takes on.

    Attributes:
        batch_size: Most images that go through the network together.
        queue_size: Most images that wait, to be decoded or for the network; further ones are
            refused.
        request_bytes: Most bytes of one request.
        image_pixels: Most pixels of one image: a file of 20 KB may hold any number of them.

    Raises:
        InputError: A value below 1.
    """

    batch_size: int = 8
    queue_size: int = 256
    request_bytes: int = 16 * 2**20
    image_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise InputError(f"{name} is {value}; give 1 or more")


DEFAULT_LIMITS = Limits()


class OverloadedError(RuntimeError):
    """Too many images are waiting already; the message says how many."""


class Service:
    """A model with its queue.

    Args:
        loaded: A model with its class names and preprocessing, from ``open_model``; its module may
            be an ``Engine``.
        device: ``auto`` (CUDA where there is a GPU), ``cpu`` or ``cuda``.
        limits: What it takes on.

    Attributes:
        names: The model's class names.
        statistics: What has happened so far.

    Raises:
        InputError: No classifier, or the device is not there.
    """

    def __init__(
        self, loaded: LoadedModel, *, device: str = "auto", limits: Limits = DEFAULT_LIMITS
    ) -> None:
        require_classifier(loaded.model, loaded.preprocessing)
        self.loaded, self.limits = loaded, limits
        self.device = choose_device(device)
        self.names = names_of(loaded)
        self.statistics = Statistics(lambda: self.waiting)
        self._batcher = Batcher(
            self._classify,
            batch_size=limits.batch_size,
            observe=self.statistics.batch_images.observe,
        )
        self._decoders: ThreadPoolExecutor | None = None
        self._decoding = 0

    @property
    def waiting(self) -> int:
        """How many images wait: to be decoded, or for the network."""
        return self._decoding + self._batcher.waiting

    def warm_up(self) -> None:
        """Runs the network once alone and once in a full batch: the first time is the slowest."""
        size = self.loaded.preprocessing.size
        for count in sorted({1, self.limits.batch_size}):
            self._classify([torch.zeros(3, size, size, dtype=torch.uint8)] * count, 1)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answers for as long as the block lasts."""
        threads = min(MOST_DECODERS, cpu_cores())
        with ThreadPoolExecutor(threads, thread_name_prefix="decoder") as self._decoders:
            async with self._batcher.running():
                yield

    async def predict(self, name: str, encoded: bytes, k: int) -> Prediction:
        """Classifies one image.

        Args:
            name: What to call it.
            encoded: The bytes of its file.
            k: How many classes to name, 1 to the number that there are.

        Returns:
            The prediction; for an unreadable image one with its ``error``.

        Raises:
            OverloadedError: Too many images wait.
            RunFailedError: The model's output is not finite.
        """
        outcome = "failed"
        try:
            found = await self._answer(name, encoded, k)
            outcome = "unreadable" if found.error else "classified"
            return found
        except OverloadedError:
            outcome = "refused"
            raise
        except asyncio.CancelledError:
            outcome = "abandoned"
            raise
        finally:
            self.statistics.images.labels(outcome).inc()

    def describe(self) -> dict[str, Any]:
        """What is served, as JSON primitives."""
        facts = getattr(self.loaded.model, "facts", None)
        return {
            "model": self.loaded.description.architecture,
            "engine": facts.name if facts else "torch",
            "device": self.device.type,
            "classes": self.names,
            "multi_label": self.loaded.description.multi_label,
            "preprocessing": self.loaded.preprocessing.to_dict(),
            "batch_size": self.limits.batch_size,
            "request_bytes": self.limits.request_bytes,
            "image_pixels": self.limits.image_pixels,
        }

    async def _answer(self, name: str, encoded: bytes, k: int) -> Prediction:
        assert self._decoders is not None, "inside running()"
        if self.waiting >= self.limits.queue_size:
            raise OverloadedError(f"{self.waiting:,} images are waiting already; try again later")
        self._decoding += 1
        try:
            crop = await asyncio.get_running_loop().run_in_executor(
                self._decoders, self._crop, encoded
            )
        except InputError as error:
            return Prediction(name, error=str(error))
        finally:
            self._decoding -= 1
        return prediction_of(name, await self._batcher.classify(crop, k), self.names)

    def _crop(self, encoded: bytes) -> Tensor:
        return self.loaded.preprocessing(decode_image(encoded, self.limits.image_pixels))

    def _classify(self, crops: Sequence[Tensor], k: int) -> list[MostProbable]:
        return most_probable(self.loaded, crops, k, self.device)
