"""Keras' HDF5 files as lists of layers with arrays: the containers of Keras 1, 2 and 3.

Keras 1 and 2 store an attribute ``layer_names``, one group for each layer and in it an attribute
``weight_names``; ``model.save()`` puts this under ``model_weights``. Keras 3's ``.weights.h5``
holds ``layers/<class>_<n>/vars/<i>``, numbered apart for each class of layers in the model's order,
with the layer's name in the attribute ``name`` of ``vars``; ``.keras`` is a zip archive around it.
"""

import io
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xception.errors import InputError
from xception.weights.containers import first_line
from xception.weights.keras_config import KerasConfig, read_config

_WEIGHTS = (
    "depthwise_kernel",
    "pointwise_kernel",
    "kernel",
    "bias",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
)
"""Keras' order within a layer."""


@dataclass(frozen=True)
class KerasLayer:
    """One layer that has weights.

    Attributes:
        name: Its name in Keras; None where the file (an early Keras 3) does not tell.
        arrays: Its weights in Keras' order and layout.
    """

    name: str | None
    arrays: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class KerasFile:
    """What a Keras file holds.

    Attributes:
        layers: In the file's order: that of Keras' ``model.layers``, in Keras 3 files only within
            each class of layers.
        container: What kind of file it is, in words.
        config: What its configuration tells of the model.
    """

    layers: list[KerasLayer]
    container: str
    config: KerasConfig = field(default_factory=KerasConfig)


def read_keras_file(path: Path) -> KerasFile:
    """Reads all layers that have weights.

    Args:
        path: A ``.h5``, ``.hdf5``, ``.weights.h5`` or ``.keras`` file.

    Raises:
        InputError: The file is truncated, or no Keras file, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"{path} is a Keras file, and h5py, which reads it, is not installed: "
            "pip install 'xception[keras]'"
        ) from error
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member:
                content = io.BytesIO(member.read())
                has_config = "config.json" in archive.namelist()
                told = read_config(archive.read("config.json") if has_config else None)
            with h5py.File(content, "r") as file:
                _refuse_links(file)
                return KerasFile(_keras3_layers(file), "Keras 3 model (.keras)", told)
        with path.open("rb") as start:
            if start.read(2) == b"PK":
                raise OSError("truncated archive")
        with h5py.File(path, "r") as file:
            return _read_hdf5(file, path)
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{path} is no file of Keras weights ({first_line(error)})") from error
    except Exception as error:  # in a damaged file any name, number or size may be impossible
        raise InputError(
            f"{path} is truncated or no Keras file ({first_line(error)}): fetch or copy it again"
        ) from error


def _read_hdf5(file: Any, path: Path) -> KerasFile:
    _refuse_links(file)
    saved_model = "model_weights" in file
    root = file["model_weights"] if saved_model else file
    if names := _attribute(root, "layer_names"):
        version = _text(root.attrs.get("keras_version", "1"))
        kind = "model.save() file (.h5)" if saved_model else "weights (.h5)"
        layers = [layer for name in names for layer in _layers_of(root, name, path)]
        told = read_config(file.attrs.get("model_config"))
        return KerasFile(layers, f"Keras {version.split('.')[0]} {kind}", told)
    if "layers" in file or "_layer_checkpoint_dependencies" in file:
        return KerasFile(_keras3_layers(file), "Keras 3 weights (.weights.h5)")
    raise InputError(
        f"{path} is an HDF5 file without Keras' layer_names or layers: give a file that "
        "save_weights() or save() wrote"
    )


def _keras3_layers(group: Any) -> list[KerasLayer]:
    """The layers of a model; those of a model that is a layer of it come in its place."""
    layers = group["layers" if "layers" in group else "_layer_checkpoint_dependencies"]
    found: list[KerasLayer] = []
    for container in sorted(layers, key=numbered):
        if "layers" in layers[container]:
            found += _keras3_layers(layers[container])
        variables = layers[container].get("vars")
        if variables is None or not len(variables):
            continue
        name = variables.attrs.get("name")
        arrays = tuple(_array(variables[i]) for i in sorted(variables, key=int))
        found.append(KerasLayer(None if name is None else _text(name), arrays))
    return found


def numbered(name: str) -> tuple[str, int]:
    """Splits an automatic name into stem and number; the first one has no number, or 0.

    Example:
        >>> numbered("batch_normalization_12"), numbered("conv2d")
        (('batch_normalization', 12), ('conv2d', 0))
    """
    match = re.fullmatch(r"(.*?)(?:_(\d{1,9}))?", name, re.DOTALL)
    assert match is not None
    return match[1], int(match[2] or 0)


def _layers_of(root: Any, layer: str, path: Path) -> list[KerasLayer]:
    """The arrays of one layer of a Keras 1 or 2 file: one layer, none, or those of a model.

    A model that is a layer of another one (fine-tuning is often written so) lists the weights of
    all its layers, "block1_conv1/kernel" and so on, the trained ones first: they are put together
    again by these names.

    Raises:
        InputError: An array is missing.
    """
    if layer not in root:
        raise InputError(f"{path} lacks the layer '{layer}' that it lists: fetch it again")
    names = _attribute(root[layer], "weight_names")
    if missing := [name for name in names if name not in root[layer]]:
        raise InputError(
            f"{path} lacks {', '.join(missing)} of the layer '{layer}': fetch or copy it again"
        )
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(name.rpartition("/")[0], []).append(name)
    if len(parts) < 2:
        arrays = tuple(_array(root[layer][name]) for name in names)
        return [KerasLayer(layer, arrays)] if arrays else []
    return [
        KerasLayer(
            part.rpartition("/")[2],
            tuple(_array(root[layer][name]) for name in sorted(weights, key=_place_in_layer)),
        )
        for part, weights in parts.items()
    ]


def _place_in_layer(weight: str) -> int:
    """Where Keras has a weight among its layer's."""
    ending = weight.rpartition("/")[2].partition(":")[0]
    return _WEIGHTS.index(ending) if ending in _WEIGHTS else len(_WEIGHTS)


def _attribute(group: Any, name: str) -> list[str]:
    """A list of texts; Keras splits long ones into name0, name1, …"""
    if name in group.attrs:
        return [_text(value) for value in group.attrs[name]]
    parts, index = [], 0
    while f"{name}{index}" in group.attrs:
        parts += [_text(value) for value in group.attrs[f"{name}{index}"]]
        index += 1
    return parts


def _text(value: Any) -> str:
    return value.decode("utf8") if isinstance(value, bytes) else str(value)


def _refuse_links(file: Any) -> None:
    """Raises OSError where a file links to another one, which could be any on this machine."""
    import h5py

    def external(name: str, link: Any) -> str | None:
        return name if isinstance(link, h5py.ExternalLink) else None

    if name := file.visititems_links(external):
        raise OSError(f"{name} points to another file, which is refused")


def _array(dataset: Any) -> np.ndarray:
    """The values of a dataset that lies in the file itself."""
    if getattr(dataset, "external", None) or getattr(dataset, "is_virtual", False):
        raise OSError(f"{dataset.name} points to another file, which is refused")
    with np.errstate(over="ignore"):  # of a double; building a model refuses infinity
        return np.asarray(dataset[()], dtype=np.float32)
