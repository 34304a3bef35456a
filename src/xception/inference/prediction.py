"""Classifies images of which nothing is known: files in, class names and probabilities out."""

import os
import stat
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xception.data.decoding import MAX_PIXELS, UnreadableImageError, read_image
from xception.data.preprocessing import Preprocessing
from xception.data.shared_memory import require_shared_memory
from xception.data.worker_process import settle_worker, signals_held
from xception.errors import InputError
from xception.inference.classes import require_classifier
from xception.inference.classification import (
    Prediction,
    most_probable,
    names_of,
    prediction_of,
)
from xception.inference.devices import choose_device, choose_workers
from xception.inference.inputs import find_images
from xception.weights.files import LoadedModel

# The largest image that would be decoded, 16 bits a channel and not compressed, and its header.
_MOST_BYTES = 8 * MAX_PIXELS + 2**20


def predict(
    loaded: LoadedModel,
    paths: Iterable[str | Path],
    *,
    top_k: int = 5,
    batch_size: int = 32,
    num_workers: int | None = None,
    device: str = "auto",
) -> Iterator[Prediction]:
    """Classifies files, folders and globs, one prediction after the other.

    Memory does not grow with the number of images: files are looked for while others are
    classified.

    Args:
        loaded: A model with its class names and preprocessing, from ``open_model``.
        paths: Files, folders (searched with their subfolders), globs.
        top_k: How many classes to name; no more than there are.
        batch_size: Images per forward pass.
        num_workers: Processes that decode images; None: none on the CPU, up to 8 for a GPU.
        device: ``auto`` (CUDA where there is a GPU), ``cpu`` or ``cuda``.

    Returns:
        One prediction for each image in the order in which they are found; for an unreadable one
        a prediction with its ``error``. The work is done as they are asked for.

    Raises:
        InputError: A value out of range, or the device is not there.
        RunFailedError: The model's output is not finite (raised while iterating).
    """
    if top_k < 1:
        raise InputError(f"top_k is {top_k}; give 1 or more")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give 1 or more")
    require_classifier(loaded.model, loaded.preprocessing)
    target_device = choose_device(device)
    names = names_of(loaded)
    batch_bytes = batch_size * 3 * loaded.preprocessing.size**2
    workers = choose_workers(num_workers, target_device, batch_size * 8, batch_bytes)
    require_shared_memory(workers, batch_bytes)
    loader = DataLoader(
        _Reader(loaded.preprocessing),
        batch_size=None,  # what the sampler yields is a whole batch
        sampler=_batches(find_images(paths), batch_size),
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=settle_worker,
        generator=torch.Generator(),  # not the global one: a prediction draws no random number
    )
    return _predictions(loaded, loader, min(top_k, len(names)), target_device)


def _predictions(
    loaded: LoadedModel, loader: "DataLoader[list[_Read]]", k: int, device: torch.device
) -> Iterator[Prediction]:
    names = names_of(loaded)
    with signals_held():
        batches = iter(loader)
    for batch in batches:
        yield from _classify(loaded, batch, names, k, device)


def open_image(path: str) -> Tensor:
    """Reads and decodes a file of which nothing is known.

    Returns:
        (3, H, W) uint8, RGB.

    Raises:
        InputError: It is no file, can't be read, or holds no image; the message says which.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - Path objects cost as much as a small image
    except (OSError, ValueError):
        return read_image(path)  # which tells the reason
    if stat.S_ISREG(status.st_mode) and status.st_size > _MOST_BYTES:
        raise UnreadableImageError(f"it has {status.st_size:,} bytes, too many for an image")
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise UnreadableImageError("it is a device or a pipe, not a file")
    return read_image(path)


class _Read(NamedTuple):
    path: str
    crop: Tensor | None  # (3, S, S) uint8
    error: str | None


class _Reader(Dataset[list[_Read]]):
    """Reads and crops batches in the loader's processes; a failure becomes a value."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def __getitem__(self, paths: list[str]) -> list[_Read]:
        return [self._read(path) for path in paths]

    def _read(self, path: str) -> _Read:
        try:
            return _Read(path, self.preprocessing(open_image(path)), None)
        except InputError as error:
            return _Read(path, None, str(error))


def _batches(paths: Iterator[Path], batch_size: int) -> Iterator[list[str]]:
    while batch := [str(path) for path in islice(paths, batch_size)]:
        yield batch


def _classify(
    loaded: LoadedModel, batch: list[_Read], names: list[str], k: int, device: torch.device
) -> Iterator[Prediction]:
    crops = [read.crop for read in batch if read.crop is not None]
    rows = iter(most_probable(loaded, crops, k, device))
    for read in batch:
        if read.crop is None:
            yield Prediction(read.path, error=read.error)
        else:
            yield prediction_of(read.path, next(rows), names)
