"""Writes one Keras model into every container, and damages such files."""

from collections.abc import Callable
from pathlib import Path

import h5py
import keras
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
from keras1_layout import write_keras1

CONTAINERS = ["keras1", "keras2", "keras2-model", "keras3", "keras3-model"]
_ENDINGS = {"keras3": ".weights.h5", "keras3-model": ".keras"}


def write_container(model: keras.Model, container: str, folder: Path) -> Path:
    """Writes a model's weights; all but Keras 1's with Keras' own code."""
    path = folder / f"{container}{_ENDINGS.get(container, '.h5')}"
    if container == "keras1":
        write_keras1(model, path, as_created(model))
    elif container == "keras2":  # what save_weights("….h5") of Keras 2 did
        with h5py.File(path, "w") as file:
            save_weights_to_hdf5_group(file, model)
    elif container == "keras3":
        model.save_weights(path)
    else:
        model.save(path)
    return path


def dataset_of(file: h5py.File, layer: str, index: int) -> str:
    """The name of a layer's dataset in a Keras 1, 2 or 3 file."""
    if "layer_names" in file.attrs:
        name = file[layer].attrs["weight_names"][index]
        return f"{layer}/{name.decode() if isinstance(name, bytes) else name}"
    for container in file["layers"]:
        variables = file[f"layers/{container}/vars"]
        if variables.attrs.get("name") == layer:
            return f"layers/{container}/vars/{index}"
    raise KeyError(layer)


def edit(path: Path, change: Callable[[h5py.File], None]) -> Path:
    """Changes a file in place."""
    with h5py.File(path, "a") as file:
        change(file)
    return path


def swap(file: h5py.File, first: str, second: str) -> None:
    """Exchanges the values of two datasets of one shape."""
    kept = file[first][()]
    file[first][...] = file[second][()]
    file[second][...] = kept


def replace_dataset(file: h5py.File, name: str, values) -> None:
    """Puts other values, of any shape, in a dataset's place."""
    del file[name]
    file[name] = values


def as_created(model: keras.Model) -> list:
    """A model's layers in the order of their creation, which their automatic numbers tell."""

    def number(layer) -> int:
        last = layer.name.rpartition("_")[2]
        return int(last) if last.isdigit() else 0

    return sorted(model.layers, key=lambda layer: (type(layer).__name__, number(layer)))
