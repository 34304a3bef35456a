"""What a Keras model's configuration tells: its input's size and scale, its last activation.

``model.save()`` keeps the configuration beside the weights, as JSON; files of weights alone don't.
"""

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xception.weights.preprocessings import KERAS_FINETUNED, KERAS_IMAGENET

_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class KerasConfig:
    """A model's input and output, as far as its configuration tells.

    Attributes:
        size: Height and width in pixels; None where they are not fixed.
        mean: As in `Preprocessing`, from a ``Rescaling`` layer; None without one.
        std: The same.
        sigmoid: Whether the last activation is a sigmoid.
    """

    size: tuple[int, int] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    sigmoid: bool = False


def read_config(config: str | bytes | None) -> KerasConfig:
    """Reads a configuration; what is missing or in no known form is not told.

    Example:
        >>> layer = {"class_name": "InputLayer", "config": {"batch_shape": [None, 150, 150, 3]}}
        >>> read_config(json.dumps({"config": {"layers": [layer]}})).size
        (150, 150)
    """
    try:
        content = json.loads(config or "{}")
    except (ValueError, RecursionError):
        return KerasConfig()
    layers = list(_layers(content))
    scales = [layer for layer in layers if layer.get("class_name") == "Rescaling"]
    mean, std = _scale(scales[0]["config"]) if len(scales) == 1 else (None, None)
    activations = [x["config"]["activation"] for x in layers if "activation" in x["config"]]
    return KerasConfig(_size(layers), mean, std, activations[-1:] == ["sigmoid"])


def preprocessing_of(told: KerasConfig, num_classes: int, origin: str) -> dict[str, Any]:
    """The preprocessing of a Keras file: `Preprocessing.to_dict()`.

    ImageNet's, with its crop, for the published head or none; that of Keras' image folders for
    another one, which somebody has fine-tuned.

    Args:
        told: What the file says of its input.
        num_classes: Of its head; 0 without one.
        origin: The file's name, for the warning that its images are no squares.
    """
    published = num_classes in (0, _IMAGENET_CLASSES)
    found = dict(KERAS_IMAGENET if published else KERAS_FINETUNED)
    if told.size is not None:
        height, width = told.size
        found["size"] = round(math.sqrt(height * width))
        if height != width:
            warnings.warn(
                f"{origin} was made for images of {height}x{width} pixels, and here they are "
                f"squares: {found['size']}x{found['size']}, of as many pixels, is taken; another "
                "size can be given with --image-size",
                stacklevel=2,
            )
    if told.mean is not None and told.std is not None:
        found |= {"mean": told.mean, "std": told.std}
    return found


def _layers(node: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """All layers, the outermost model's first, in its order."""
    if isinstance(node, Mapping) and depth < 50:
        config = node.get("config")
        inside = config.get("layers") if isinstance(config, Mapping) else None
        if isinstance(node.get("class_name"), str) and isinstance(config, Mapping):
            yield node
        for layer in inside if isinstance(inside, list) else []:
            yield from _layers(layer, depth + 1)


def _size(layers: list[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Height and width of the first input that is an image."""
    for layer in layers:
        config = layer["config"]
        built = layer.get("build_config")
        shapes = [config.get("batch_shape"), config.get("batch_input_shape")]
        shapes += [built.get("input_shape")] if isinstance(built, Mapping) else []
        for shape in shapes:
            if isinstance(shape, list) and len(shape) == 4:
                height, width = shape[1:3]
                whole = isinstance(height, int) and isinstance(width, int)
                return (height, width) if whole and min(height, width) > 1 else None
    return None


def _scale(config: Mapping[str, Any]) -> tuple[list[float] | None, list[float] | None]:
    """Mean and deviation: x·scale + offset of a pixel x in [0, 255] is (x/255 - mean)/std."""
    try:
        scale, offset = (
            [float(value)] * 3 if isinstance(value, (int, float)) else [float(v) for v in value]
            for value in (config["scale"], config.get("offset", 0.0))
        )
    except (KeyError, TypeError, ValueError):
        return None, None
    if len(scale) != 3 or len(offset) != 3 or min(scale) <= 0:
        return None, None
    std = [1 / (255 * value) for value in scale]
    return [-o * s for o, s in zip(offset, std, strict=True)], std
