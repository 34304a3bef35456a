"""A source of labelled images: random access by index, whatever lies behind it.

A source is anything with ``class_names``, ``labels``, ``len`` and ``source[index]``; ``Subset`` and
``CachedSource`` wrap one and are one. Nothing here shuffles or augments.
"""

import os
from collections.abc import Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from xception.data.decoding import read_encoded, read_image
from xception.data.targets import ImageTargets
from xception.errors import InputError


@runtime_checkable
class ImageSource(Protocol):
    """Labelled images, by index.

    Attributes:
        class_names: One name per class; a label is an index into them.
        labels: (len,) int64.
    """

    class_names: list[str]
    labels: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """The image, (3, H, W) uint8 RGB, and its label.

        Raises:
            UnreadableImageError: The image can't be read; the message is the reason.
        """
        ...

    def describe(self, index: int) -> str:
        """What to call the image in a message: its path, or its number in the set."""
        ...


@runtime_checkable
class MultiLabelSource(Protocol):
    """Images with several labels each, by index; otherwise as `ImageSource`.

    Attributes:
        class_names: One name per class.
        multi_label: True.
    """

    class_names: list[str]
    multi_label: bool

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, ImageTargets]:
        """The image, (3, H, W) uint8 RGB, and its labels.

        Raises:
            UnreadableImageError: The image can't be read; the message is the reason.
        """
        ...

    def describe(self, index: int) -> str:
        """What to call the image in a message."""
        ...


AnySource = ImageSource | MultiLabelSource


def is_multi_label(source: object) -> bool:
    """Whether a source's images have several labels each."""
    return bool(getattr(source, "multi_label", False))


@runtime_checkable
class EncodedSource(Protocol):
    """A source that can hand out the bytes of an image file, to decode only a part of it."""

    def encoded(self, index: int) -> tuple[bytes, int | ImageTargets]:
        """The bytes of the image file, and what ``source[index]`` has as label.

        Raises:
            UnreadableImageError: They can't be had; the message is the reason.
        """
        ...


def has_encoded(source: object) -> bool:
    """Whether a source is an `EncodedSource`; a `Subset` is one where its source is."""
    return isinstance(whole_of(source), EncodedSource)


def whole_of(source: object) -> object:
    """The source that a `Subset`, also one of a subset, is a part of; any other itself."""
    while isinstance(source, Subset):
        source = source.source
    return source


def file_names(source: object) -> list[str] | None:
    """The images' paths relative to their folder, of a source of files or a part of one."""
    if isinstance(source, FileSource):
        return source.names()
    inner = file_names(source.source) if isinstance(source, Subset) else None
    return None if inner is None else [inner[int(index)] for index in source.indices]  # type: ignore[attr-defined]


def require_one_label(source: AnySource) -> ImageSource:
    """The same source, if its images have one label each.

    Raises:
        InputError: They have several.
    """
    if is_multi_label(source):
        raise InputError(
            "these images have several labels each, and top-1 accuracy asks for one; "
            "evaluate them with --metric map@K"
        )
    return cast(ImageSource, source)


class ArraySource:
    """Images that are held in memory, all of one size.

    Args:
        images: (N, 3, H, W) uint8.
        labels: (N,) class indices.
        class_names: One name per class.
        name: What messages call the set.

    Example:
        >>> source = ArraySource(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 1], ["a", "b"])
        >>> source[1][1], source.describe(1)
        (1, 'array image 1')
    """

    def __init__(
        self,
        images: Tensor,
        labels: Sequence[int] | np.ndarray | Tensor,
        class_names: Sequence[str],
        name: str = "array",
    ) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            raise InputError(
                f"images must be (N, 3, H, W) uint8, not {tuple(images.shape)} {images.dtype}"
            )
        self.images = images
        self.labels = np.asarray(labels, dtype=np.int64)
        self.class_names = list(class_names)
        self.name = name
        if len(self.labels) != len(images):
            raise InputError(f"there are {len(images)} images, but {len(self.labels)} labels")
        if len(images) and not 0 <= self.labels.min() <= self.labels.max() < len(class_names):
            raise InputError(
                f"the labels run from {self.labels.min()} to {self.labels.max()}, "
                f"but there are {len(class_names)} class names"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])

    def describe(self, index: int) -> str:
        """The image's number in the set."""
        return f"{self.name} image {index}"


class FileSource:
    """Images in files, decoded when asked for.

    The names are kept in one block of bytes with one offset each, not as Python objects: a million
    files take some 40 MB, which loader processes share with the main process.

    Args:
        root: The folder that the paths are relative to.
        paths: One per image, relative to ``root``.
        labels: One class index per image.
        class_names: One name per class.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        paths: Sequence[str],
        labels: Sequence[int] | np.ndarray,
        class_names: Sequence[str],
    ) -> None:
        self.root = os.fspath(root)
        encoded = [os.fsencode(path) for path in paths]
        self._names = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.class_names = list(class_names)

    @property
    def nbytes(self) -> int:
        """Bytes that the index takes, names, offsets and labels."""
        return self._names.nbytes + self._ends.nbytes + self.labels.nbytes

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return read_image(self.describe(index)), int(self.labels[index])

    def encoded(self, index: int) -> tuple[bytes, int]:
        """The bytes of the file, and the label."""
        return read_encoded(self.describe(index)), int(self.labels[index])

    def describe(self, index: int) -> str:
        """The file's path."""
        return os.path.join(self.root, self.name(index))  # noqa: PTH118 - once per image and epoch

    def name(self, index: int) -> str:
        """The file's path relative to the root, as it was given."""
        index = range(len(self))[index]
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._names[start : self._ends[index]].tobytes())

    def names(self) -> list[str]:
        """All files' paths relative to the root."""
        return [self.name(index) for index in range(len(self))]


class Subset:
    """Some of another source's images; it has ``labels`` where they have one each.

    Args:
        source: The source to choose from.
        indices: Which images, by their index there.
    """

    labels: np.ndarray

    def __init__(self, source: AnySource, indices: Sequence[int] | np.ndarray) -> None:
        self.source = source
        self.indices = np.asarray(indices, dtype=np.int64)
        self.multi_label = is_multi_label(source)
        if not self.multi_label:
            self.labels = np.asarray(cast(ImageSource, source).labels)[self.indices]
        self.class_names = source.class_names

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.source[int(self.indices[index])]

    def encoded(self, index: int) -> tuple[bytes, Any]:
        """The bytes of the image file, where the source has them, and the label."""
        return self.source.encoded(int(self.indices[index]))  # type: ignore[union-attr]

    def describe(self, index: int) -> str:
        """What the chosen source calls the image."""
        return self.source.describe(int(self.indices[index]))
