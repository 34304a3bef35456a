"""Whether two weights files are the same model: keys, values, activations, description."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xception.errors import InputError
from xception.weights.comparison import (
    ActivationComparison,
    TensorComparison,
    compare_activations,
    compare_tensors,
)
from xception.weights.description import StoredModel
from xception.weights.files import LoadedModel, build
from xception.weights.reading import read_stored


@dataclass(frozen=True)
class Verification:
    """All that `verify` finds.

    Attributes:
        first: The first model, as it was recognised.
        second: The second one.
        settings: Entries of the descriptions that differ: (name, first, second).
        tensors: Names and values.
        activations: What flows through both, or None where one could not be built.
        obstacle: Why activations could not be compared; else "".
    """

    first: StoredModel
    second: StoredModel
    settings: list[tuple[str, Any, Any]]
    tensors: TensorComparison
    activations: ActivationComparison | None
    obstacle: str

    def same(self, tolerance: float) -> bool:
        """Whether both compute the same: no unmatched keys, no layer further apart."""
        return (
            not self.tensors.only_first
            and not self.tensors.only_second
            and self.activations is not None
            and self.activations.first_difference(tolerance) is None
        )


def verify(
    first: str | Path,
    second: str | Path,
    *,
    images: list[Path] | None = None,
    size: int | None = None,
    seed: int = 0,
    count: int = 2,
    kinds: tuple[str | None, str | None] = (None, None),
) -> Verification:
    """Compares two models layer by layer, on images.

    Args:
        first: A weights file, run directory, address or name.
        second: Another one.
        images: Image files, which come in through the first model's preprocessing; by default
            ``count`` random images are drawn.
        size: Height and width of the images, pixels; by default the first model's own.
        seed: Of the random images.
        count: Number of random images.
        kinds: What the two are to be taken for; recognised by default.

    Raises:
        InputError: One of them can't be read, or an image.
    """
    stored = [
        read_stored(source, kind=kind) for source, kind in zip((first, second), kinds, strict=True)
    ]
    tensors = compare_tensors(stored[0].tensors, stored[1].tensors)
    activations, obstacle = None, ""
    try:
        loaded = [build(one) for one in stored]
    except InputError as error:
        loaded, obstacle = [], str(error)
    if loaded:
        batch = _images(loaded[0], images, size, seed, count)
        if loaded[0].model.in_channels != loaded[1].model.in_channels:
            obstacle = "the models read images of different numbers of channels"
        else:
            activations = compare_activations(loaded[0].model, loaded[1].model, batch)
    settings = _differing_settings(stored, loaded)
    return Verification(stored[0], stored[1], settings, tensors, activations, obstacle)


def _images(
    loaded: LoadedModel, files: list[Path] | None, size: int | None, seed: int, count: int
) -> Tensor:
    """A batch for both models: (N, C, S, S) float32 in [-1, 1]."""
    from dataclasses import replace

    prepare = replace(loaded.preprocessing, size=size) if size else loaded.preprocessing
    channels = int(loaded.model.in_channels)  # type: ignore[arg-type]
    if files is None:
        generator = torch.Generator().manual_seed(seed)
        shape = (count, channels, prepare.size, prepare.size)
        return torch.rand(shape, generator=generator) * 2 - 1
    if channels != 3:
        raise InputError(
            f"images have 3 channels and {loaded.path} reads {channels}: leave them out"
        )
    return prepare.normalize(torch.stack([prepare(_read(path)) for path in files]))


def _read(path: Path) -> Tensor:
    """One image, (3, H, W) uint8.

    Raises:
        InputError: It can't be read; the message names it.
    """
    from xception.data.decoding import UnreadableImageError, read_image

    try:
        return read_image(str(path))
    except UnreadableImageError as error:
        raise InputError(f"{path} can't be used: {error}; leave it out") from error


def _differing_settings(
    stored: list[StoredModel], loaded: list[LoadedModel]
) -> list[tuple[str, Any, Any]]:
    """Where the descriptions differ; arguments at their defaults count as told."""
    told: list[dict[str, Any]] = []
    for index, one in enumerate(stored):
        described = one.description
        arguments: Any = loaded[index].model.arguments if loaded else described.arguments
        entries: dict[str, Any] = {"architecture": described.architecture, **arguments}
        preprocessing: Any = described.preprocessing or {}
        if loaded:
            preprocessing = loaded[index].preprocessing.to_dict()
        entries |= {f"preprocessing.{key}": value for key, value in preprocessing.items()}
        entries["class names"] = described.class_names
        told.append(entries)
    names = list(dict.fromkeys([*told[0], *told[1]]))
    return [(n, told[0].get(n), told[1].get(n)) for n in names if told[0].get(n) != told[1].get(n)]
