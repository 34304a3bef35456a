"""The input pipelines that ``xception benchmark data`` compares: ours, torchvision's and timm's.

Each is written as its users write it, and ends with the pixels of a batch: (N, 3, S, S) uint8.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, cast

import torch
from torch import Tensor, nn

from xception.data.batches import EvaluationBatches, TrainingBatches
from xception.data.crop_decoding import Decoding, require_decoding
from xception.data.preprocessing import Preprocessing
from xception.data.sources import FileSource
from xception.data.transforms import TrainingTransform
from xception.errors import InputError, nearest

PIPELINES = {
    "xception:exact": "ours, every pixel as from the whole file",
    "xception:fast": "ours, data.decoding: fast (training only)",
    "torchvision": "ImageFolder with its own loader (PIL), transforms v2",
    "torchvision:native": "torchvision's JPEG decoder, transforms v2 on tensors",
    "timm": "ImageFolder's loader (PIL), timm's transforms",
}
Transforms = Literal["crops", "colors", "evaluation"]
TRANSFORMS: dict[Transforms, str] = {
    "crops": "training: a random 5–100 % of the area, resized, half of them mirrored",
    "colors": "the same and changed brightness and saturation",
    "evaluation": "the central 87.5 %",
}
AREA = (0.05, 1.0)
Pipeline = Callable[[range], Tensor]


@dataclass(frozen=True)
class DataContender:
    """A pipeline of ``PIPELINES``."""

    name: str

    @property
    def label(self) -> str:
        """For messages."""
        return self.name

    @property
    def words(self) -> frozenset[str]:
        """No modes."""
        return frozenset()

    @property
    def is_peer(self) -> bool:
        """Whether it is somebody else's."""
        return not self.name.startswith("xception:")


def choose_pipelines(names: Sequence[str]) -> list[DataContender]:
    """The contenders of these names, checked before anything is measured.

    Raises:
        InputError: An unknown name, a name twice, or a library that is not installed.

    Example:
        >>> [contender.is_peer for contender in choose_pipelines(["xception:exact", "timm"])]
        [False, True]
    """
    for name in names:
        if name not in PIPELINES:
            hint = nearest(name, list(PIPELINES))
            raise InputError(f"there is no pipeline '{name}'{hint} (known: {', '.join(PIPELINES)})")
        if list(names).count(name) > 1:
            raise InputError(f"'{name}' is given twice; give it once")
        library = name.partition(":")[0]
        if library != "xception" and find_spec(library) is None:
            raise InputError(f"'{name}': {library} is not installed; pip install {library}")
        if name == "xception:fast":
            require_decoding("fast")
    return [DataContender(name) for name in names]


def require_transforms(names: Sequence[str]) -> None:
    """Checks kinds of transforms.

    Raises:
        InputError: An unknown name, or a name twice.
    """
    for name in names:
        if name not in TRANSFORMS:
            hint = nearest(name, list(TRANSFORMS))
            raise InputError(
                f"there are no transforms '{name}'{hint} (known: {', '.join(TRANSFORMS)})"
            )
        if list(names).count(name) > 1:
            raise InputError(f"'{name}' is given twice; give it once")


def takes_part(contender: DataContender, transforms: Transforms) -> bool:
    """Whether a pipeline has such transforms: our evaluation is always exact."""
    return contender.name != "xception:fast" or transforms != "evaluation"


def build_pipeline(name: str, source: FileSource, transforms: Transforms, size: int) -> Pipeline:
    """Builds a pipeline.

    Args:
        name: A key of ``PIPELINES``.
        source: The files.
        transforms: A key of ``TRANSFORMS``.
        size: Height and width of the result, in pixels.

    Returns:
        Maps places in the source's order to the pixels of a batch.
    """
    library, _, variant = name.partition(":")
    if library == "xception":
        return _ours(source, transforms, size, cast(Decoding, variant))
    if library == "timm":
        return _timm(source, transforms, size)
    if variant == "native":
        return _native(source, transforms, size)
    return _image_folder(source, transforms, size)


def _ours(source: FileSource, transforms: Transforms, size: int, decoding: Decoding) -> Pipeline:
    if transforms == "evaluation":
        evaluated = EvaluationBatches(source, Preprocessing(size=size))
        return lambda places: evaluated[places].images
    transform = TrainingTransform(size=size, crop_area=AREA)
    if transforms == "crops":
        transform = TrainingTransform(size=size, crop_area=AREA, brightness=0.0, saturation=None)
    batches = TrainingBatches(source, transform, seed=0, attempts=1, decoding=decoding)
    return lambda places: batches[(0, places)].images


def _vision_steps(transforms: Transforms, size: int) -> list[nn.Module]:
    from torchvision.transforms import v2

    if transforms == "evaluation":
        return [v2.Resize(int(size / 0.875)), v2.CenterCrop(size)]
    steps = [v2.RandomResizedCrop(size, scale=AREA), v2.RandomHorizontalFlip()]
    if transforms == "colors":
        steps.append(v2.ColorJitter(brightness=32 / 255, saturation=(0.5, 1.5)))
    return steps


def _image_folder(source: FileSource, transforms: Transforms, size: int) -> Pipeline:
    from torchvision.datasets.folder import default_loader
    from torchvision.transforms import v2

    prepare = v2.Compose([*_vision_steps(transforms, size), v2.PILToTensor()])
    return lambda places: torch.stack(
        [prepare(default_loader(source.describe(place))) for place in places]
    )


def _native(source: FileSource, transforms: Transforms, size: int) -> Pipeline:
    from torchvision import io
    from torchvision.transforms import v2

    prepare = v2.Compose([v2.ToImage(), *_vision_steps(transforms, size)])

    def load(path: str) -> Tensor:
        return io.decode_image(path, mode=io.ImageReadMode.RGB, apply_exif_orientation=True)

    return lambda places: torch.stack([prepare(load(source.describe(place))) for place in places])


def _timm(source: FileSource, transforms: Transforms, size: int) -> Pipeline:
    from timm.data.transforms_factory import create_transform
    from torchvision.datasets.folder import default_loader

    prepare = create_transform(
        size,
        is_training=transforms != "evaluation",
        scale=AREA,
        color_jitter=(32 / 255, 0.0, 0.5) if transforms == "colors" else 0.0,
        interpolation="bilinear",
        crop_pct=0.875,
        use_prefetcher=True,  # bytes: timm too normalises on the device
    )
    return lambda places: torch.stack(
        [torch.as_tensor(prepare(default_loader(source.describe(place)))) for place in places]
    )
