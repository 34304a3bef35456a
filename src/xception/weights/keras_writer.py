"""Back to Keras: a ``.weights.h5`` that ``keras.applications.….load_weights`` reads.

Keras 3 numbers the layers of each class in the order of ``model.layers`` and finds them by that
number alone: ``layers/separable_conv2d_7/vars/0``.
"""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from xception.errors import InputError
from xception.models.registry import create_model
from xception.models.xception_flows import Widths
from xception.weights.atomic import replacing
from xception.weights.description import StoredModel
from xception.weights.keras_arrays import (
    Arrays,
    conv_to_keras,
    dense_layer,
    depthwise_to_keras,
    norm_to_keras,
    numbered_name,
)
from xception.weights.xception_layout import LAYERS

FREE_ARGUMENTS = ("num_classes", "in_channels", "dropout", "drop_path", "fc_activation")
"""Arguments that change nothing that Keras would have to know about a trained model."""


def write_keras(stored: StoredModel, path: Path) -> None:
    """Writes a model as Keras 3 weights for Keras Applications.

    Args:
        stored: The model; its tensors are known to fit its description.
        path: Ends in ``.weights.h5``, as Keras demands.

    Raises:
        InputError: Keras Applications has no such model; the reason is told. Or h5py is missing.
    """
    arrays = keras_arrays(stored)
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "h5py, which writes Keras files, is not installed: pip install 'xception[keras]'"
        ) from error
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        file.create_group("vars")
        for container, (name, values) in arrays.items():
            variables = file.create_group(f"layers/{container}/vars")
            variables.attrs["name"] = name
            for index, value in enumerate(values):
                variables.create_dataset(str(index), data=value)


def keras_arrays(stored: StoredModel) -> Arrays:
    """Translates a model into Keras' arrays.

    Raises:
        InputError: Keras Applications has no such model.
    """
    refuse_inexpressible(stored)
    if stored.description.architecture == "inception_v3":
        from xception.weights.keras_inception_v3 import inception_v3_to_keras

        return inception_v3_to_keras(stored.tensors)
    return _xception_to_keras(stored.tensors)


def refuse_inexpressible(stored: StoredModel) -> None:
    """Raises where Keras Applications can't build a model that computes the same.

    Raises:
        InputError: With every argument that stands against it.
    """
    described = stored.description
    if described.architecture not in ("xception", "inception_v3"):
        raise InputError(
            f"Keras Applications has no '{described.architecture}' of this kind: it has Xception "
            "and Inception V3; write a .safetensors instead"
        )
    standard: dict[str, Any] = create_model(described.architecture, num_classes=1).arguments  # type: ignore[assignment]
    told = dict(described.arguments)
    if described.architecture == "xception" and told.get("widths") == list(Widths()):
        del told["widths"]  # the standard ones, said explicitly; width has no effect beside them
        told.pop("width", None)
    against = [
        f"{name}={value!r} (Keras: {standard.get(name)!r})"
        for name, value in told.items()
        if name not in FREE_ARGUMENTS and value != standard.get(name)
    ]
    if against:
        raise InputError(
            f"Keras Applications can't express {stored.path}, because it has "
            f"{', '.join(against)}; write a .safetensors instead"
        )


def _xception_to_keras(tensors: dict[str, Tensor]) -> Arrays:
    arrays: Arrays = {}
    counts = {"conv2d": 0, "separable_conv2d": 0, "batch_normalization": 0}

    def add(stem: str, name: str, values: list[np.ndarray]) -> None:
        arrays[numbered_name(stem, counts[stem])] = (name, values)
        counts[stem] += 1

    shortcuts = 0
    for layer in LAYERS:
        name = layer.keras or numbered_name("conv2d", shortcuts)
        norm = f"{name}_bn" if layer.keras else numbered_name("batch_normalization", shortcuts)
        shortcuts += layer.keras is None
        if layer.kind == "conv":
            add("conv2d", name, [conv_to_keras(tensors[f"{layer.ours}.conv.weight"])])
        else:
            depthwise = depthwise_to_keras(tensors[f"{layer.ours}.conv.depthwise.weight"])
            pointwise = conv_to_keras(tensors[f"{layer.ours}.conv.pointwise.weight"])
            add("separable_conv2d", name, [depthwise, pointwise])
        add("batch_normalization", norm, norm_to_keras(tensors, f"{layer.ours}.norm"))
    return arrays | dense_layer(tensors)
