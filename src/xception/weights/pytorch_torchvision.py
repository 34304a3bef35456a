"""Weights of table 1's other networks, VGG-16 and ResNet-50, -101, -152, from torchvision.

The models here have torchvision's own names (timm's ResNets have the same), so nothing has to be
translated: only the network has to be recognised. These weights expect ImageNet's mean and
deviation, which the preprocessing in the description does.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from xception.errors import InputError
from xception.weights.description import ModelDescription, StoredModel
from xception.weights.matching import dimension, head_classes
from xception.weights.preprocessings import TORCHVISION_IMAGENET

_BLOCKS = {6: "resnet50", 23: "resnet101", 36: "resnet152"}  # in the third layer


def torchvision_architecture(tensors: Mapping[str, Tensor]) -> str | None:
    """Recognises a network by its names; None for any other.

    Args:
        tensors: A state dict.
    """
    if "layer1.0.conv3.weight" in tensors:  # three convolutions a block: ResNet-50 and deeper
        blocks = {name.split(".")[1] for name in tensors if name.startswith("layer3.")}
        return _BLOCKS.get(len(blocks))
    convolutions = [n for n in tensors if n.startswith("features.") and tensors[n].ndim == 4]
    norms = any(name.startswith("features.") and "running" in name for name in tensors)
    return "vgg16" if len(convolutions) == 13 and not norms else None


def torchvision_from_pytorch(tensors: Mapping[str, Tensor], path: Path) -> StoredModel:
    """Describes the state dict of a VGG-16 or ResNet of torchvision.

    Args:
        tensors: The state dict, prefixes removed.
        path: Where it comes from.

    Raises:
        InputError: It is none of these, or lacks its first or half of its last layer.
    """
    architecture = torchvision_architecture(tensors)
    if architecture is None:
        raise InputError(f"{path} is no VGG-16 and no ResNet-50, -101 or -152 of torchvision")
    vgg = architecture == "vgg16"
    first, origin = "features.0.weight" if vgg else "conv1.weight", str(path)
    if first not in tensors:
        network, other = ("VGG-16", "VGG") if vgg else (f"ResNet-{architecture[6:]}", "ResNet")
        example = "" if vgg else " such as resnet50d"
        raise InputError(
            f"{path} is no {network} of torchvision, it has no {first}: "
            f"a missing tensor, or another {other}{example}"
        )
    description = ModelDescription(
        architecture=architecture,
        arguments={
            "num_classes": head_classes(tensors, "classifier.6" if vgg else "fc", origin),
            "in_channels": dimension(tensors, first, 1, 4, origin),
        },
        numerics="timm",
        preprocessing=TORCHVISION_IMAGENET,
        provenance={"converted_from": path.name},
    )
    return StoredModel(description, dict(tensors), path, "torchvision", "PyTorch state dict")
