"""Xception's weights from timm's, Cadene's and tstandley's PyTorch models.

All three have the same network: pooling padded by one and BatchNorm's eps 1e-5 (profile "timm").
Cadene calls the classifier ``last_linear``; tstandley's file has 2-D pointwise kernels.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from xception.errors import InputError
from xception.weights.description import ModelDescription, StoredModel
from xception.weights.matching import dimension, enumerate_names, head_classes
from xception.weights.preprocessings import TIMM_XCEPTION
from xception.weights.xception_layout import CLASSIFIER, LAYERS

CLASSIFIERS = ("fc", "last_linear", "classifier")
NORM_ENTRIES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def xception_names() -> dict[str, str]:
    """Timm's names and ours, the classifier left out."""
    names = {}
    for layer in LAYERS:
        if layer.kind == "conv":
            names[f"{layer.timm}.weight"] = f"{layer.ours}.conv.weight"
        else:
            names[f"{layer.timm}.conv1.weight"] = f"{layer.ours}.conv.depthwise.weight"
            names[f"{layer.timm}.pointwise.weight"] = f"{layer.ours}.conv.pointwise.weight"
        for entry in NORM_ENTRIES:
            names[f"{layer.timm_norm}.{entry}"] = f"{layer.ours}.norm.{entry}"
    return names


def refuse_other_names(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], path: Path, what: str
) -> None:
    """Raises where a state dict has not exactly the names that are known.

    Args:
        tensors: The state dict.
        names: The names that it should have; BatchNorm's batch counters may be absent.
        path: Where it comes from, for messages.
        what: What it should be, for messages.

    Raises:
        InputError: With the missing and the extra names.
    """
    unknown = [name for name in tensors if name not in names]
    missing = [n for n in names if n not in tensors and not n.endswith("num_batches_tracked")]
    if unknown or missing:
        told = [f"{len(missing)} missing: {enumerate_names(missing)}"] if missing else []
        told += [f"{len(unknown)} extra: {enumerate_names(unknown)}"] if unknown else []
        raise InputError(f"{path} is no {what}: {'; '.join(told)}")


def xception_from_pytorch(tensors: Mapping[str, Tensor], path: Path) -> StoredModel:
    """Translates the state dict of a PyTorch Xception.

    Args:
        tensors: The state dict, prefixes removed.
        path: Where it comes from.

    Raises:
        InputError: Names are missing or unknown, or a shape is impossible.
    """
    names = xception_names()
    for classifier in CLASSIFIERS:
        if f"{classifier}.weight" in tensors or f"{classifier}.bias" in tensors:
            names |= {f"{classifier}.{e}": f"{CLASSIFIER}.{e}" for e in ("weight", "bias")}
            break
    refuse_other_names(tensors, names, path, "legacy_xception of timm or Cadene")
    num_classes = head_classes(tensors, classifier, str(path))
    in_channels = dimension(tensors, "conv1.weight", 1, 4, str(path))
    ours = {}
    for name, tensor in tensors.items():
        if name.endswith("pointwise.weight") and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
        ours[names[name]] = tensor
    description = ModelDescription(
        architecture="xception",
        arguments={
            "num_classes": num_classes,
            "in_channels": in_channels,
            "numerics": "timm",
        },
        numerics="timm",
        preprocessing=TIMM_XCEPTION,
        provenance={"converted_from": path.name},
    )
    return StoredModel(description, ours, path, "timm-xception", "PyTorch state dict")
