"""Inception V3's weights from Keras' files, and back.

Every layer has an automatic name, and a file's order is not that of creation: layers are sorted by
the number in their name. Early Keras 3 files do not tell the names; there the order of Keras'
``model.layers`` is known. The paper's variant, the first Keras port, differs in having biases and
gammas.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xception.errors import InputError
from xception.weights.description import ModelDescription, StoredModel
from xception.weights.inception_v3_layout import KERAS_ORDER, LAYERS
from xception.weights.keras_arrays import (
    Arrays,
    check_counts,
    classifier_from_keras,
    container_in_words,
    conv_from_keras,
    conv_to_keras,
    dense_layer,
    norm_from_keras,
    norm_to_keras,
    numbered_name,
)
from xception.weights.keras_config import preprocessing_of
from xception.weights.keras_hdf5 import KerasFile, KerasLayer, numbered
from xception.weights.keras_xception import sort_into_kinds
from xception.weights.xception_layout import CLASSIFIER


def inception_v3_from_keras(file: KerasFile, path: Path, variant: str) -> StoredModel:
    """Translates a Keras Inception V3, with or without its top.

    Args:
        file: The layers.
        path: Where they come from.
        variant: "standard", or "paper" for the first Keras port.

    Raises:
        InputError: The numbers of layers are not Inception V3's.
    """
    origin = str(path)
    kinds = sort_into_kinds(file.layers, origin)
    dense = kinds.pop("dense", [])
    found = {kind: len(layers) for kind, layers in kinds.items()}
    conv = "conv+bias" if variant == "paper" else "conv"
    norm = "norm" if variant == "paper" or "norm" in kinds else "norm-without-gamma"
    check_counts(found, {conv: len(LAYERS), norm: len(LAYERS)}, origin, "Keras Inception V3")
    if len(dense) > 1:
        raise InputError(
            f"{origin} has {len(dense)} dense layers, and Keras does not store the activation "
            "between them: give the file of a model with one"
        )
    tensors: dict[str, Tensor] = {}
    convolutions, norms = _as_created(kinds[conv]), _as_created(kinds[norm])
    for (ours, _), convolution, normalization in zip(LAYERS, convolutions, norms, strict=True):
        tensors[f"{ours}.conv.weight"] = conv_from_keras(convolution.arrays[0])
        if variant == "paper":
            tensors[f"{ours}.conv.bias"] = torch.from_numpy(convolution.arrays[1].copy())
        tensors |= norm_from_keras(normalization.arrays, f"{ours}.norm")
    num_classes = 0
    units = dense[0].arrays[0].shape[1] if dense else 0
    words = container_in_words(file.container, units)
    if dense:
        tensors |= classifier_from_keras(dense[0].arrays, CLASSIFIER)
        num_classes = int(tensors[f"{CLASSIFIER}.weight"].shape[0])
    description = ModelDescription(
        architecture="inception_v3",
        arguments={
            "num_classes": num_classes,
            "in_channels": int(tensors["stem.conv1.conv.weight"].shape[1]),
            "variant": variant,
            "numerics": "keras",
        },
        numerics="keras",
        preprocessing=preprocessing_of(file.config, num_classes, str(path)),
        provenance={"converted_from": path.name, "container": words},
        multi_label=file.config.sigmoid and units > 1,
    )
    kind = "keras-inception-v3-paper" if variant == "paper" else "keras-inception-v3"
    return StoredModel(description, tensors, path, kind, words)


def _as_created(layers: list[KerasLayer]) -> list[KerasLayer]:
    """Sorts layers of one kind into the order of their creation."""
    if all(layer.name is None for layer in layers):
        placed = sorted(zip(KERAS_ORDER, layers, strict=True), key=lambda pair: pair[0])
        return [layer for _, layer in placed]
    return sorted(layers, key=lambda layer: numbered(str(layer.name))[1])


def inception_v3_to_keras(tensors: dict[str, Tensor]) -> Arrays:
    """Translates the standard variant for Keras, whose BatchNorm has no gamma.

    gamma·(w∗x − mean)/√(var + eps) + beta is the same as with kernel gamma·w and mean gamma·mean,
    so gamma goes there. (Keras trains on from this with a variance that it will first have to
    find again: that of gamma·w∗x is gamma² times as large.)

    Args:
        tensors: The state dict of a standard Inception V3.
    """
    arrays: Arrays = {}
    for place, index in enumerate(KERAS_ORDER):
        ours = LAYERS[index][0]
        gamma, beta, mean, variance = norm_to_keras(tensors, f"{ours}.norm")
        kernel = conv_to_keras(tensors[f"{ours}.conv.weight"])  # (h, w, in, out)
        name = numbered_name("conv2d", index)
        arrays[numbered_name("conv2d", place)] = (name, [np.ascontiguousarray(kernel * gamma)])
        name = numbered_name("batch_normalization", index)
        container = numbered_name("batch_normalization", place)
        arrays[container] = (name, [beta, mean * gamma, variance])
    return arrays | dense_layer(tensors)
