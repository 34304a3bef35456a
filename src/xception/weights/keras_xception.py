"""Xception's weights from Keras' files of all three generations.

Keras 1's published file has automatic names throughout (``convolution2d_1``, …), and matching by
name would silently leave layers random: layers are taken in the file's order, sorted into kinds by
the shapes of their arrays, and assigned in order within each kind. Where a layer carries the name
that Keras Applications gives it (``block5_sepconv2``), the name decides instead.
"""

from pathlib import Path

from torch import Tensor

from xception.errors import InputError
from xception.weights.description import ModelDescription, StoredModel
from xception.weights.keras_arrays import (
    check_counts,
    classifier_from_keras,
    container_in_words,
    conv_from_keras,
    norm_from_keras,
    separable_from_keras,
    signature,
)
from xception.weights.keras_config import preprocessing_of
from xception.weights.keras_hdf5 import KerasFile, KerasLayer, numbered
from xception.weights.matching import enumerate_names
from xception.weights.xception_layout import CLASSIFIER, LAYERS, Layer

COUNTS = {"conv": 6, "separable": 34, "norm": 40}


def sort_into_kinds(layers: list[KerasLayer], origin: str) -> dict[str, list[KerasLayer]]:
    """Sorts layers by the shapes of their arrays; each kind keeps the file's order.

    Raises:
        InputError: A layer is of no kind that the networks have.
    """
    kinds: dict[str, list[KerasLayer]] = {}
    for layer in layers:
        kind = signature(layer.arrays)
        if kind is None:
            shapes = enumerate_names("x".join(map(str, array.shape)) for array in layer.arrays)
            raise InputError(
                f"{origin}: the layer '{layer.name}' with arrays {shapes} belongs to neither "
                "Xception nor Inception V3: give the weights of a Keras Applications model alone"
            )
        kinds.setdefault(kind, []).append(layer)
    return kinds


def xception_from_keras(file: KerasFile, path: Path) -> StoredModel:
    """Translates a Keras Xception, with or without its top.

    Args:
        file: The layers.
        path: Where they come from.

    Raises:
        InputError: The numbers of layers are not Xception's, or names contradict each other.
    """
    origin = str(path)
    kinds = sort_into_kinds(file.layers, origin)
    dense = kinds.pop("dense", [])
    found = {kind: len(layers) for kind, layers in kinds.items()}
    check_counts(found, COUNTS, origin, "Keras Xception")
    if len(dense) > 1:
        raise InputError(
            f"{origin} has {len(dense)} dense layers, and Keras does not store the activation "
            "between them: give the file of a model with one"
        )
    convolutions = _in_order(kinds["conv"], [x for x in LAYERS if x.kind == "conv"], "", origin)
    separables = _in_order(
        kinds["separable"], [x for x in LAYERS if x.kind == "separable"], "", origin
    )
    norms = _in_order(kinds["norm"], list(LAYERS), "_bn", origin)

    tensors: dict[str, Tensor] = {}
    for layer, arrays in convolutions:
        tensors[f"{layer.ours}.conv.weight"] = conv_from_keras(arrays[0])
    for layer, arrays in separables:
        tensors |= separable_from_keras(arrays, f"{layer.ours}.conv")
    for layer, arrays in norms:
        tensors |= norm_from_keras(arrays, f"{layer.ours}.norm")
    num_classes = 0
    units = dense[0].arrays[0].shape[1] if dense else 0
    words = container_in_words(file.container, units)
    if dense:
        tensors |= classifier_from_keras(dense[0].arrays, CLASSIFIER)
        num_classes = int(tensors[f"{CLASSIFIER}.weight"].shape[0])
    in_channels = int(tensors["entry_flow.conv1.conv.weight"].shape[1])
    description = ModelDescription(
        architecture="xception",
        arguments={"num_classes": num_classes, "in_channels": in_channels, "numerics": "keras"},
        numerics="keras",
        preprocessing=preprocessing_of(file.config, num_classes, str(path)),
        provenance={"converted_from": path.name, "container": words},
        multi_label=file.config.sigmoid and units > 1,
    )
    return StoredModel(description, tensors, path, "keras-xception", words)


def _in_order(
    found: list[KerasLayer], expected: list[Layer], suffix: str, origin: str
) -> list[tuple[Layer, tuple]]:
    """Pairs layers of one kind with their places: by Keras' own names, the others in order.

    Args:
        found: The file's layers.
        expected: As many places, in Keras' order.
        suffix: What Keras appends to the names in ``expected``.
        origin: The file's name, for messages.

    Raises:
        InputError: Only some of the names are Keras Applications' own.
    """
    named = {layer.keras + suffix: layer for layer in expected if layer.keras}
    by_name = [layer for layer in found if layer.name in named]
    if not by_name:
        return [(place, layer.arrays) for place, layer in zip(expected, found, strict=True)]
    missing = sorted(set(named) - {layer.name for layer in by_name})
    if len(by_name) > len(named) - len(missing):
        raise InputError(f"{origin} has a layer of Keras Xception twice: fetch or copy it again")
    if missing:
        raise InputError(f"{origin} lacks Keras Xception's layers {', '.join(missing[:8])}")
    # By their numbers: a model within another one lists the weights that are trained first.
    unnamed = [layer for layer in found if layer.name not in named]
    unnamed.sort(key=lambda layer: numbered(str(layer.name))[1])
    places = [layer for layer in expected if not layer.keras]
    pairs = [(named[str(layer.name)], layer.arrays) for layer in by_name]
    return pairs + [(p, layer.arrays) for p, layer in zip(places, unnamed, strict=True)]
