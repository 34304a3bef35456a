"""From whatever holds a model to its description and tensors: recognises kinds, reads, translates.

The container is recognised by a file's first bytes, never by its name alone, and the network in it
by the names or shapes of its tensors.
"""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from xception.errors import InputError, nearest
from xception.home import expand_home
from xception.weights.containers import (
    METADATA_KEY,
    damaged,
    plain_tensors,
    read_pickled,
    read_safetensors,
    read_safetensors_metadata,
    without_prefixes,
)
from xception.weights.description import ModelDescription, StoredModel
from xception.weights.earlier_files import with_multi_label
from xception.weights.sliced import has_average, is_sliced, joined

Averaging = Literal["polyak", "raw"]
Container = Literal["safetensors", "pickled", "keras"]

KINDS = {
    "xception": "a .safetensors of this project",
    "checkpoint": "a training checkpoint (.ckpt) of this project",
    "keras-xception": "Keras' Xception: .h5 of Keras 1 and 2, .weights.h5 and .keras of Keras 3",
    "keras-inception-v3": "Keras' Inception V3, the same kinds of files",
    "keras-inception-v3-paper": "the first Keras port of Inception V3, with biases and gammas",
    "timm-xception": "legacy_xception of timm, xception of Cadene and tstandley",
    "torchvision-inception-v3": "inception_v3 of torchvision and timm",
    "torchvision": "VGG-16, ResNet-50, -101 and -152 of torchvision",
}
"""What a file can be taken for, and the words of ``--kind``."""

_FOREIGN_PYTORCH = ("timm-xception", "torchvision-inception-v3", "torchvision")

_EXPORTED = (".onnx", ".pt2", ".xml")

RUN_WEIGHTS = "model.safetensors"
LAST_CHECKPOINT = "checkpoints/last.ckpt"


def read_stored(
    source: str | Path, *, weights: Averaging = "polyak", kind: str | None = None
) -> StoredModel:
    """Reads description and tensors from whatever holds a model.

    Args:
        source: A run directory, a checkpoint, a weights file, an address or a name.
        weights: The Polyak-averaged weights or the raw ones (checkpoints and runs only).
        kind: What the file is to be taken for, one of `KINDS`; recognised by default.

    Raises:
        InputError: There is nothing there; it is truncated, refused, or of no known kind.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(
            f"there is no kind '{kind}'{nearest(kind, list(KINDS))} (known: {', '.join(KINDS)})"
        )
    path = locate(source, weights)
    container = container_of(path)
    stored = {
        "safetensors": _read_safetensors,
        "pickled": _read_pickled,
        "keras": _read_keras,
    }[container](path, kind, weights)
    if weights == "raw" and stored.kind != "checkpoint":
        raise InputError(
            f"{path} holds one set of weights, and not the raw ones beside it: give a run's "
            f"directory or its {LAST_CHECKPOINT}"
        )
    return _with_published_names(stored)


def _with_published_names(stored: StoredModel) -> StoredModel:
    """Adds ImageNet's class names to a file that is known by its hash to be a published one."""
    described = stored.description
    if described.class_names is not None or stored.kind in ("xception", "checkpoint"):
        return stored
    from xception.weights.sources import imagenet_class_names, published_as

    name = published_as(stored.path)
    if name is None:
        return stored
    described = replace(
        described,
        class_names=imagenet_class_names() if described.num_classes == 1000 else None,
        provenance={**described.provenance, "published_as": name},
    )
    return replace(stored, description=described)


def read_description(source: str | Path) -> ModelDescription:
    """Reads what a model's file says, its tensors only where it says nothing itself.

    Args:
        source: As for `read_stored`.

    Raises:
        InputError: As `read_stored`.
    """
    path = locate(source, "polyak")
    if container_of(path) == "safetensors":
        metadata = read_safetensors_metadata(path)
        if METADATA_KEY in metadata:
            return _described(metadata[METADATA_KEY], path)
    return read_stored(path).description


def _described(told: Any, path: Path) -> ModelDescription:
    """What one of our files says, or its run where the file is too old to say it."""
    return ModelDescription.from_dict(with_multi_label(told, path), str(path))


def locate(source: str | Path, weights: Averaging = "polyak") -> Path:
    """Finds the file that a source means, downloading it if need be.

    Raises:
        InputError: There is none.
    """
    path = expand_home(source)
    if path.is_dir():
        names = [RUN_WEIGHTS, LAST_CHECKPOINT] if weights == "polyak" else [LAST_CHECKPOINT]
        for name in names:
            if (path / name).is_file():
                return path / name
        raise InputError(
            f"the directory {path} holds no {' and no '.join(names)}: give the directory of a "
            "run, or a weights file"
        )
    if path.is_file():
        return path
    from xception.weights.sources import fetch

    return fetch(str(source))


def container_of(path: Path) -> Container:
    """Recognises a file by its first bytes.

    Raises:
        InputError: It is empty, damaged or of no known kind.
    """
    if path.suffix in _EXPORTED:
        raise InputError(
            f"{path} is an exported file, which can only be run, by predict and evaluate: give the "
            "model that it was made from"
        )
    with path.open("rb") as file:
        start = file.read(9)
    if not start:
        raise InputError(f"{path} is empty: fetch or copy it again")
    if start.startswith(b"\x89HDF"):
        return "keras"
    if start.startswith(b"PK"):
        if path.suffix == ".keras":
            return "keras"
        try:
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    return "keras" if "model.weights.h5" in archive.namelist() else "pickled"
        except Exception as error:  # a damaged archive: BadZipFile, UnicodeDecodeError and others
            raise damaged(path, error) from error
        return "pickled"
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return "safetensors"
    if path.suffix in (".h5", ".hdf5", ".keras"):
        return "keras"
    if start.startswith(b"\x80") or path.suffix in (".pth", ".pt", ".ckpt", ".bin", ".tar"):
        return "pickled"
    raise InputError(
        f"{path} is no file of a known kind: give .safetensors, .ckpt, .pth, .h5, .weights.h5 or "
        ".keras"
    )


def _read_safetensors(path: Path, kind: str | None, weights: Averaging) -> StoredModel:
    metadata = read_safetensors_metadata(path)
    if kind == "xception" or (kind is None and METADATA_KEY in metadata):
        description = _described(metadata.get(METADATA_KEY), path)
        container = "safetensors of this project"
        return StoredModel(description, read_safetensors(path), path, "xception", container)
    stored = _translate(without_prefixes(read_safetensors(path)), path, kind)
    return replace(stored, container=f"safetensors, {KINDS[stored.kind]}")


def _read_pickled(path: Path, kind: str | None, weights: Averaging) -> StoredModel:
    content = read_pickled(path)
    if kind == "checkpoint" or (kind is None and isinstance(content.get(METADATA_KEY), dict)):
        return _own_checkpoint(content, path, weights)
    stored = _translate(plain_tensors(content, str(path)), path, kind)
    return replace(stored, container=f"PyTorch state dict, {KINDS[stored.kind]}")


def _own_checkpoint(content: dict[str, Any], path: Path, weights: Averaging) -> StoredModel:
    """The model in a training checkpoint.

    Raises:
        InputError: It is another program's.
    """
    if METADATA_KEY not in content:
        raise InputError(
            f"{path} is another program's checkpoint (it has no '{METADATA_KEY}' entry): leave "
            "--kind out"
        )
    description = _described(content[METADATA_KEY], path)
    sliced = is_sliced(content)
    averaged: dict[str, Any] = content.get("polyak") or {}
    taken = weights if averaged or (sliced and has_average(content)) else "raw"
    tensors: dict[str, Tensor]
    if sliced:
        tensors = joined(content, averaged=taken == "polyak")
    elif taken == "polyak":
        tensors = dict(averaged["state_dict"])
    else:
        state = content.get("state_dict", {})
        tensors = {
            name.removeprefix("model."): value
            for name, value in state.items()
            if name.startswith("model.")
        }
    provenance: dict[str, Any] = {
        **description.provenance,
        "weights": taken,
        **{key: int(content[key]) for key in ("epoch", "global_step", "step") if key in content},
    }
    return StoredModel(
        replace(description, provenance=provenance),
        without_prefixes(tensors),
        path,
        "checkpoint",
        f"training checkpoint, {'averaged' if taken == 'polyak' else 'raw'} weights",
    )


def _translate(tensors: dict[str, Tensor], path: Path, kind: str | None) -> StoredModel:
    """Translates another project's PyTorch names.

    Raises:
        InputError: They are of no known network.
    """
    from xception.weights.pytorch_inception_v3 import inception_v3_from_pytorch
    from xception.weights.pytorch_torchvision import (
        torchvision_architecture,
        torchvision_from_pytorch,
    )
    from xception.weights.pytorch_xception import xception_from_pytorch

    if kind is None:
        if "block1.rep.0.conv1.weight" in tensors or "conv4.pointwise.weight" in tensors:
            kind = "timm-xception"
        elif any(name.startswith("Mixed_") for name in tensors):
            kind = "torchvision-inception-v3"
        elif torchvision_architecture(tensors):
            kind = "torchvision"
    if kind == "timm-xception":
        return xception_from_pytorch(tensors, path)
    if kind == "torchvision-inception-v3":
        return inception_v3_from_pytorch(tensors, path)
    if kind == "torchvision":
        return torchvision_from_pytorch(tensors, path)
    if kind is not None:
        raise InputError(f"{path} holds PyTorch tensors and can't be taken for '{kind}'")
    raise InputError(
        f"{path} holds {len(tensors)} tensors of no network known here (the first is "
        f"'{next(iter(tensors), '')}'): the PyTorch networks that are read are "
        f"{'; '.join(KINDS[known] for known in _FOREIGN_PYTORCH)}"
    )


def _read_keras(path: Path, kind: str | None, weights: Averaging) -> StoredModel:
    from xception.weights.keras_hdf5 import read_keras_file
    from xception.weights.keras_inception_v3 import inception_v3_from_keras
    from xception.weights.keras_networks import keras_kind
    from xception.weights.keras_xception import xception_from_keras

    file = read_keras_file(path)
    if kind is None:
        kind = keras_kind(file, str(path))
    if kind == "keras-xception":
        return xception_from_keras(file, path)
    if kind.startswith("keras-inception-v3"):
        variant = "paper" if kind.endswith("paper") else "standard"
        return inception_v3_from_keras(file, path, variant)
    raise InputError(f"{path} is a Keras file and can't be taken for '{kind}'")
