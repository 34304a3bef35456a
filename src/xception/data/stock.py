"""torchvision's stock data sets by name, downloaded when absent."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from xception.data.folders import EVALUATION_FOLDERS, open_folder
from xception.data.sources import ArraySource, FileSource, ImageSource
from xception.errors import InputError
from xception.home import expand_home


@dataclass(frozen=True)
class StockSet:
    """Where torchvision keeps a data set, and under which names it keeps what.

    Args:
        title: Name of the class in ``torchvision.datasets``.
        train: Its arguments for the training split.
        evaluation: Its arguments for the held-out split.
        files: Attributes that hold the paths and the labels, for sets that are kept as files; for
            those kept as one array, None.
        labels: Attribute that holds the labels of a set kept as one array.
    """

    title: str
    train: dict[str, Any] = field(default_factory=lambda: {"train": True})
    evaluation: dict[str, Any] = field(default_factory=lambda: {"train": False})
    files: tuple[str, str] | None = None
    labels: str = "targets"


def _with_split(title: str, *, train: str = "train", **where: Any) -> StockSet:
    """A set whose splits are called by name; the held-out one is ``"test"``."""
    return StockSet(title, {"split": train}, {"split": "test"}, **where)


_FILES = ("_image_files", "_labels")

STOCK = {
    "cifar10": StockSet("CIFAR10"),
    "cifar100": StockSet("CIFAR100"),
    "mnist": StockSet("MNIST"),
    "fashion-mnist": StockSet("FashionMNIST"),
    "kmnist": StockSet("KMNIST"),
    "svhn": _with_split("SVHN", labels="labels"),
    "stl10": _with_split("STL10", labels="labels"),
    "flowers102": _with_split("Flowers102", files=_FILES),
    "food101": _with_split("Food101", files=_FILES),
    "dtd": _with_split("DTD", files=_FILES),
    "fgvc-aircraft": _with_split("FGVCAircraft", train="trainval", files=_FILES),
    "oxford-pets": _with_split("OxfordIIITPet", train="trainval", files=("_images", "_labels")),
}
"""The names; each is a class of ``torchvision.datasets``."""


def default_root() -> Path:
    """Where data sets are downloaded to: ``$XCEPTION_DATA``, else ``~/.cache/xception/data``."""
    if own := os.environ.get("XCEPTION_DATA"):
        return expand_home(own)
    try:
        return expand_home("~/.cache/xception/data")
    except InputError:  # a container's user without an account
        raise InputError(
            "there is no home directory to keep data sets in: set XCEPTION_DATA to a directory, or "
            "say with data.root (evaluate: --data-root) where they lie"
        ) from None


def open_stock(
    name: str, split: Literal["train", "evaluation"], *, root: str | None = None
) -> ImageSource:
    """Opens one split of a stock data set.

    Args:
        name: One of ``STOCK``.
        split: The images to train on, or those held out (torchvision's test split).
        root: The download folder, by default ``default_root()``. If it holds an image folder,
            ``train/<class>`` beside ``test/<class>`` (or ``val/``), that is used instead.

    Raises:
        InputError: The set is absent and can't be downloaded.
    """
    folder = expand_home(root) if root is not None else default_root()
    if _is_image_folder(folder, split):
        return open_folder(folder, split)
    if split == "evaluation" and _is_image_folder(folder, "train"):
        raise InputError(
            f"{folder} has train/ with a folder for each class and neither of "
            f"{', '.join(f'{name}/' for name in EVALUATION_FOLDERS)} beside it; add the held-out "
            "images, or name another data.root"
        )
    stock = STOCK[name]
    dataset = _load(name, stock, stock.train if split == "train" else stock.evaluation, folder)
    if stock.files is not None:
        return _from_files(stock.files, dataset)
    return ArraySource(
        _as_images(dataset.data),
        np.asarray(getattr(dataset, stock.labels)),
        _class_names(dataset, np.asarray(getattr(dataset, stock.labels))),
        name=name,
    )


def _is_image_folder(folder: Path, split: Literal["train", "evaluation"]) -> bool:
    """Whether class folders take the set's place; the training alone needs none held out."""
    train = folder / "train"
    held_out = split == "train" or any((folder / name).is_dir() for name in EVALUATION_FOLDERS)
    return held_out and train.is_dir() and any(e.is_dir() for e in train.iterdir())


def _load(name: str, stock: StockSet, arguments: dict[str, Any], folder: Path) -> Any:
    """The data set of torchvision, from the disk or else from the network."""
    from torchvision import datasets

    build: Callable[..., Any] = getattr(datasets, stock.title)
    try:
        return build(folder, download=False, **arguments)
    except RuntimeError:  # absent, or its checksums are wrong: torchvision says "not found"
        pass
    from filelock import FileLock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):  # of several processes, one downloads
            return build(folder, download=True, **arguments)
    except (OSError, RuntimeError) as error:  # URLError is an OSError
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise InputError(
            f"the data set {name} is not in {folder} and can't be downloaded ({reason}); check "
            "the network, or give data.root: a folder with torchvision's files, or with "
            "train/<class> and test/<class>"
        ) from None


def _as_images(data: Any) -> Tensor:
    """The pixels of a set kept as one array, as (N, 3, H, W) uint8."""
    images = torch.as_tensor(data)
    if images.ndim == 3:  # grey, (N, H, W)
        return images[:, None].expand(-1, 3, -1, -1).contiguous()
    return (images if images.shape[1] == 3 else images.permute(0, 3, 1, 2)).contiguous()


def _from_files(attributes: tuple[str, str], dataset: Any) -> FileSource:
    """The files of a set kept as files, so that our own decoder reads them."""
    paths = [str(path) for path in getattr(dataset, attributes[0])]
    labels = np.asarray(getattr(dataset, attributes[1]))
    root = os.path.commonpath(paths)
    relative = [os.path.relpath(path, root) for path in paths]
    return FileSource(root, relative, labels, _class_names(dataset, labels))


def _class_names(dataset: Any, labels: np.ndarray) -> list[str]:
    """The set's own names of its classes, or else their numbers."""
    names = getattr(dataset, "classes", None)
    return [str(n) for n in names] if names else [str(n) for n in range(int(labels.max()) + 1)]
