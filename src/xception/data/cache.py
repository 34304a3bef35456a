"""Keeps decoded images in memory, for sets of small images that are read epoch after epoch."""

import logging
from typing import Any, Literal

from torch import Tensor

from xception.data.decoding import UnreadableImageError
from xception.data.multi_label import MultiLabelArrays
from xception.data.sources import AnySource, ArraySource, is_multi_label, whole_of

log = logging.getLogger(__name__)

SMALL_PIXELS = 96 * 96
"""Images up to this height x width are quicker to augment than to hand from process to process."""

CACHE_BYTES = 1 << 30
"""The most that a set may take for it to be kept without being asked for: 1 GiB."""


class CachedSource:
    """A source that decodes each image once and keeps it.

    Args:
        source: The source behind it.

    Example:
        >>> import torch
        >>> source = CachedSource(
        ...     ArraySource(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), [0], ["a"]))
        >>> source[0][0].shape
        torch.Size([3, 2, 2])
    """

    def __init__(self, source: AnySource) -> None:
        self.source = source
        self.multi_label = is_multi_label(source)
        self.class_names = source.class_names
        self.blacklisted: set[int] = getattr(source, "blacklisted", set())
        self._kept: dict[int, tuple[Tensor, Any] | str] = {}

    @property
    def labels(self) -> Any:
        """The labels of the source behind it."""
        return getattr(self.source, "labels")  # noqa: B009 - a multi-label source may lack them

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        kept = self._kept.get(index)
        if kept is None:
            try:
                kept = self.source[index]
            except UnreadableImageError as error:
                kept = str(error)
            self._kept[index] = kept
        if isinstance(kept, str):
            raise UnreadableImageError(kept)
        return kept

    def describe(self, index: int) -> str:
        """What the source behind it calls the image."""
        return self.source.describe(index)

    def fill(self) -> None:
        """Decodes every image now, so that loader processes share them."""
        log.info("decoding %d images into memory", len(self))
        for index in range(len(self)):
            try:
                self[index]
            except UnreadableImageError:
                continue  # told again, with its reason, when the image's turn comes


def kept(source: AnySource, cache: bool | Literal["auto"], *, at_once: bool) -> AnySource:
    """A source whose decoded images are kept in memory, if they are to be.

    Args:
        source: The source.
        cache: Whether to keep them; "auto": if they are small and few.
        at_once: Whether to decode all of them now.
    """
    wanted = is_small(source) if cache == "auto" else cache
    if not wanted or is_in_memory(source):
        return source
    cached = CachedSource(source)
    if at_once:
        cached.fill()
    return cached


def is_in_memory(source: AnySource) -> bool:
    """Whether a source hands out images without decoding them."""
    return isinstance(whole_of(source), ArraySource | MultiLabelArrays | CachedSource)


def is_small(source: AnySource) -> bool:
    """Whether a set's images are small, and few enough to be kept in memory.

    Judged by the first image that can be read.
    """
    for index in range(min(len(source), 10)):
        try:
            _, height, width = source[index][0].shape
        except UnreadableImageError:
            continue
        return height * width <= SMALL_PIXELS and 3 * height * width * len(source) <= CACHE_BYTES
    return False
