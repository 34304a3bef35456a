"""Inception V3's weights from torchvision's and timm's models.

Their networks are the same: average pools count the padding (profile "timm"). torchvision's
auxiliary tower, ``AuxLogits``, is known and left out. Its ``transform_input`` only undoes its own
normalization: this project's models take [-1, 1] at once.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from xception.weights.description import ModelDescription, StoredModel
from xception.weights.inception_v3_layout import LAYERS
from xception.weights.matching import dimension, head_classes
from xception.weights.preprocessings import TIMM_INCEPTION_V3, TORCHVISION_INCEPTION_V3
from xception.weights.pytorch_xception import NORM_ENTRIES, refuse_other_names
from xception.weights.xception_layout import CLASSIFIER

AUXILIARY = "AuxLogits."


def inception_v3_names() -> dict[str, str]:
    """Torchvision's names and ours."""
    names = {}
    for ours, theirs in LAYERS:
        names[f"{theirs}.conv.weight"] = f"{ours}.conv.weight"
        for entry in NORM_ENTRIES:
            names[f"{theirs}.bn.{entry}"] = f"{ours}.norm.{entry}"
    return names


def inception_v3_from_pytorch(tensors: Mapping[str, Tensor], path: Path) -> StoredModel:
    """Translates the state dict of torchvision's or timm's Inception V3.

    Args:
        tensors: The state dict, prefixes removed.
        path: Where it comes from.

    Raises:
        InputError: Names are missing or unknown, or a shape is impossible.
    """
    ignored = [name for name in tensors if name.startswith(AUXILIARY)]
    tensors = {name: tensor for name, tensor in tensors.items() if name not in ignored}
    names = inception_v3_names()
    if "fc.weight" in tensors or "fc.bias" in tensors:
        names |= {f"fc.{entry}": f"{CLASSIFIER}.{entry}" for entry in ("weight", "bias")}
    refuse_other_names(tensors, names, path, "inception_v3 of torchvision or timm")
    ours = {names[name]: tensor for name, tensor in tensors.items()}
    first = "Conv2d_1a_3x3.conv.weight"
    description = ModelDescription(
        architecture="inception_v3",
        arguments={
            "num_classes": head_classes(tensors, "fc", str(path)),
            "in_channels": dimension(tensors, first, 1, 4, str(path)),
            "variant": "standard",
            "numerics": "timm",
        },
        numerics="timm",
        preprocessing=TORCHVISION_INCEPTION_V3 if ignored else TIMM_INCEPTION_V3,
        provenance={"converted_from": path.name},
    )
    container = "PyTorch state dict"
    kind = "torchvision-inception-v3"
    return StoredModel(description, ours, path, kind, container, ignored)
