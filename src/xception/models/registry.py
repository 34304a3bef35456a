"""The one place where a string becomes a network. It never loads weights."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from xception.errors import InputError, nearest

_MODELS = {
    "inception_v3": ("xception.models.inception_v3", "InceptionV3"),
    "resnet50": ("xception.models.resnet", "ResNet50"),
    "resnet101": ("xception.models.resnet", "ResNet101"),
    "resnet152": ("xception.models.resnet", "ResNet152"),
    "separable_vgg": ("xception.models.separable_vgg", "SeparableVGG"),
    "vgg16": ("xception.models.vgg", "VGG16"),
    "xception": ("xception.models.xception", "Xception"),
    "xception_continuum": ("xception.models.continuum", "xception_continuum"),
}

_LOADED = (
    "the weights are random here: xception.load_model(source, num_classes=…) loads trained ones"
)
_ELSEWHERE = {  # names of timm and torchvision
    "pretrained": _LOADED,
    "weights": _LOADED,
    "checkpoint_path": _LOADED,
    "in_chans": "it is called in_channels",
    "drop_rate": "it is called dropout",
    "drop_path_rate": "it is called drop_path",
    "global_pool": "num_classes=0 gives the pooled features, forward_features the maps",
    "out_indices": "features_only=True gives all five maps",
}


def list_models() -> list[str]:
    """Returns the names that ``create_model`` knows, sorted.

    Example:
        >>> "xception" in list_models()
        True
    """
    return sorted(_MODELS)


def model_class(name: str) -> Callable[..., nn.Module]:
    """Returns the class or function that builds a model; its signature lists the arguments.

    Args:
        name: One of ``list_models()``.

    Raises:
        InputError: There is no such model.
    """
    if name not in _MODELS:
        known = ", ".join(list_models())
        raise InputError(
            f"there is no model '{name}'{nearest(str(name), list_models())} (known: {known})"
        )
    module, attribute = _MODELS[name]
    return getattr(import_module(module), attribute)


def create_model(name: str, **arguments: Any) -> nn.Module:
    """Builds a model with random weights.

    Args:
        name: One of ``list_models()``.
        **arguments: Arguments of the model, see ``model_class(name)``.

    Returns:
        The model, in training mode; it maps (N, in_channels, H, W) to logits (N, num_classes).

    Raises:
        InputError: There is no such model or argument, or a value is out of range.

    Example:
        >>> create_model("xception", num_classes=10, width=0.125).num_classes
        10
    """
    build = model_class(name)
    known = list(inspect.signature(build).parameters)
    for argument in arguments:
        if argument not in known:
            meant = _ELSEWHERE.get(argument)
            hint = f"; {meant}" if meant else nearest(argument, known)
            raise InputError(
                f"the model '{name}' has no argument '{argument}'{hint} (it has {', '.join(known)})"
            )
    return build(**arguments)
