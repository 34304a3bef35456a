"""Which network a Keras file holds, by the shapes of its arrays."""

from collections import Counter

from xception.errors import InputError, count_of
from xception.weights.inception_v3_layout import LAYERS as INCEPTION_LAYERS
from xception.weights.keras_arrays import signature
from xception.weights.keras_hdf5 import KerasFile, KerasLayer

_DAMAGE = 14  # layers that may be missing or too many before another network is the likelier reason


def keras_kind(file: KerasFile, origin: str) -> str:
    """The word of ``--kind`` for a file.

    Args:
        file: The layers.
        origin: The file's name, for messages.

    Raises:
        InputError: It is plainly of another network.
    """
    counts = Counter(_kind(layer) for layer in file.layers)
    if counts["separable"]:
        return "keras-xception"
    convolutions = counts["conv"] + counts["conv+bias"]
    if counts["depthwise"] or abs(convolutions - len(INCEPTION_LAYERS)) > _DAMAGE:
        raise InputError(
            f"{origin} is a Keras file of another network than those read here, Xception (34 "
            f"separable convolutions, 6 others) and Inception V3 ({len(INCEPTION_LAYERS)} "
            f"convolutions): it has {_in_words(counts)}{_likely(counts)}; give a file of one of "
            "these two"
        )
    return "keras-inception-v3-paper" if counts["conv+bias"] else "keras-inception-v3"


def _kind(layer: KerasLayer) -> str:
    """As `signature`, and depthwise convolutions, which it takes for others, apart."""
    kernel = layer.arrays[0] if layer.arrays else None
    if kernel is not None and kernel.ndim == 4 and kernel.shape[3] == 1 and kernel.shape[2] > 1:
        found = signature(layer.arrays)
        return "depthwise" if found in ("conv", "conv+bias") else str(found)
    found = signature(layer.arrays)
    return "norm" if found == "norm-without-gamma" else str(found)


def _in_words(counts: Counter[str]) -> str:
    parts = [
        (counts["conv"] + counts["conv+bias"], "convolution"),
        (counts["depthwise"], "depthwise convolution"),
        (counts["norm"], "BatchNorm"),
        (counts["dense"], "dense layer"),
    ]
    return ", ".join(count_of(count, noun) for count, noun in parts if count) or "none of them"


def _likely(counts: Counter[str]) -> str:
    if counts["depthwise"]:
        return ", as a MobileNet or an EfficientNet has"
    if counts["conv+bias"] and counts["norm"] and not counts["conv"]:
        return ", as a ResNet has"
    return ", as a VGG has" if counts["conv+bias"] and not counts["norm"] else ""
