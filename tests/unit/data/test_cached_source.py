import numpy as np
import pytest
import torch

from xception.data import cache
from xception.data.cache import CachedSource, is_in_memory, is_small
from xception.data.decoding import UnreadableImageError
from xception.data.folders import open_folder
from xception.data.sources import Subset
from xception.data.transforms import TrainingTransform


class Counted:
    """Counts how often each image is decoded; image 1 can't be."""

    def __init__(self) -> None:
        self.labels, self.class_names, self.calls = np.array([0, 1, 0]), ["a", "b"], [0, 0, 0]

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int):
        self.calls[index] += 1
        if index == 1:
            raise UnreadableImageError("broken")
        return torch.full((3, 4 + index, 4), index, dtype=torch.uint8), int(self.labels[index])

    def describe(self, index: int) -> str:
        return f"image {index}"


def test_cached_source_decodes_once():
    inner = Counted()
    source = CachedSource(inner)
    for _ in range(3):
        assert source[2][0].shape == (3, 6, 4)
        assert source[2][1] == 0
        with pytest.raises(UnreadableImageError, match=r"^broken$"):
            source[1]
    assert inner.calls == [0, 1, 1]
    assert source.describe(2) == "image 2"


def test_cached_source_fills_at_once():
    inner = Counted()
    source = CachedSource(inner)
    source.fill()
    for index in (0, 2, 0):
        source[index]
    assert inner.calls == [1, 1, 1]


def test_cached_images_are_augmented_as_uncached_ones(tmp_path, save_image):
    for i in range(4):
        save_image(tmp_path / "a" / f"{i}.jpg", 40, 50, seed=i)
    plain = open_folder(tmp_path, "train")
    cached = CachedSource(plain)
    cached.fill()
    augment = TrainingTransform(size=24, contrast=(0.8, 1.2))

    def augmented(source) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(i) for i in range(4)]
        return augment([source[i][0] for i in range(4)], generators)

    assert torch.equal(augmented(plain), augmented(cached))


def test_is_small_judges_pixels_and_bytes(tmp_path, save_image, monkeypatch):
    save_image(tmp_path / "a" / "0.png", 32, 32)
    save_image(tmp_path / "a" / "1.png", 32, 32)
    source = open_folder(tmp_path, "train")
    assert is_small(source)
    monkeypatch.setattr(cache, "CACHE_BYTES", 2 * 3 * 32 * 32 - 1)
    assert not is_small(source)
    monkeypatch.undo()
    monkeypatch.setattr(cache, "SMALL_PIXELS", 32 * 32 - 1)
    assert not is_small(source)


def test_is_small_looks_past_an_unreadable_image(tmp_path, save_image):
    save_image(tmp_path / "a" / "1.png", 32, 32)
    (tmp_path / "a" / "0.png").write_bytes(b"")
    assert is_small(open_folder(tmp_path, "train"))


def test_is_in_memory_sees_through_a_subset(numbered, tmp_path, save_image):
    save_image(tmp_path / "a" / "1.png")
    files = open_folder(tmp_path, "train")
    assert is_in_memory(Subset(numbered(4), [1, 2]))
    assert is_in_memory(CachedSource(files))
    assert not is_in_memory(files)
    assert not is_in_memory(Subset(files, [0]))
