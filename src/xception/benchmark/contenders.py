"""The networks that ``xception benchmark`` compares: ours, timm's, torchvision's and Keras'.

A contender is a network and a mode: ``timm:legacy_xception`` run ``channels_last+compile``.
"""

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from xception.errors import InputError, nearest
from xception.models.registry import create_model, list_models

LIBRARIES = ("timm", "torchvision", "keras")
MODES = {
    "eager": "as PyTorch runs it by default",
    "channels_last": "images and filters laid out channels last",
    "compile": "through torch.compile",
    "keep_memory": "freed memory stays with the process (Linux, CPU), as in xception train",
}
NUM_CLASSES = 1000


@dataclass(frozen=True)
class Contender:
    """A network in a mode.

    Attributes:
        model: A name of ``list_models()``, or ``library:name``.
        mode: Words of ``MODES`` joined by ``+``.
    """

    model: str
    mode: str

    @property
    def words(self) -> frozenset[str]:
        """The words of the mode."""
        return frozenset(self.mode.split("+"))

    @property
    def label(self) -> str:
        """For tables: ``xception, channels_last``."""
        return f"{self.model}, {self.mode}"


def choose_contenders(models: Sequence[str], modes: Sequence[str]) -> list[Contender]:
    """Every network in every mode, checked before anything is built.

    Args:
        models: Names; ``timm:NAME``, ``torchvision:NAME`` and ``keras:NAME`` are the peers.
        modes: See ``MODES``.

    Raises:
        InputError: An unknown name or mode, a name twice, or a library that is not installed.

    Example:
        >>> [c.label for c in choose_contenders(["xception"], ["eager", "compile"])]
        ['xception, eager', 'xception, compile']
    """
    for given in (models, modes):
        for word in given:
            if list(given).count(word) > 1:
                raise InputError(f"'{word}' is given twice; give it once")
    for mode in modes:
        for word in mode.split("+"):
            if word not in MODES:
                raise InputError(
                    f"there is no mode '{word}'{nearest(word, list(MODES))} "
                    f"(known: {', '.join(MODES)}, joined by +)"
                )
    for model in models:
        _check_name(model)
    return [Contender(model, mode) for model in models for mode in modes]


def build_network(name: str) -> nn.Module:
    """Builds a network with 1,000 classes and random weights that seed 0 decides.

    Args:
        name: A name that ``choose_contenders`` takes. torchvision's networks come without their
            auxiliary towers, Keras' without softmax and run by Keras' torch backend.

    Returns:
        Maps images (N, 3, H, W) to logits (N, 1000).
    """
    torch.manual_seed(0)
    library, _, rest = name.rpartition(":")
    if not library:
        return create_model(rest, num_classes=NUM_CLASSES)
    if library == "timm":
        import timm

        network: nn.Module = timm.create_model(rest, num_classes=NUM_CLASSES)
        return network
    if library == "torchvision":
        from torchvision.models import get_model, get_model_builder

        known = inspect.signature(get_model_builder(rest)).parameters
        extra: dict[str, Any] = {"weights": None}
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()) and (
            rest in ("inception_v3", "googlenet")
        ):
            extra |= {"aux_logits": False, "init_weights": True}
        network = get_model(rest, **extra)
        return network
    return KerasNetwork(rest)


class KerasNetwork(nn.Module):
    """A network of ``keras.applications``, fed with (N, 3, H, W) as the others are.

    Args:
        name: Its name there, such as ``Xception``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        build = getattr(_keras_applications(), name)
        self.network = build(weights=None, classifier_activation=None)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to logits (N, 1000)."""
        logits: Tensor = self.network(images.permute(0, 2, 3, 1), training=self.training)
        return logits


def _check_name(name: str) -> None:
    library, colon, rest = name.partition(":")
    if not colon:
        if name not in list_models():
            known = [*list_models(), *(f"{peer}:NAME" for peer in LIBRARIES)]
            hint = nearest(name, list_models())
            raise InputError(f"there is no model '{name}'{hint} (known: {', '.join(known)})")
        return
    if library not in LIBRARIES:
        raise InputError(
            f"'{name}': there are no models of '{library}'{nearest(library, list(LIBRARIES))} "
            f"(known: {', '.join(LIBRARIES)})"
        )
    if find_spec(library) is None:
        raise InputError(f"'{name}': {library} is not installed; pip install {library}")
    known = _names(library)
    if rest not in known:
        raise InputError(f"{library} has no model '{rest}'{nearest(rest, known)}")


def _names(library: str) -> list[str]:
    if library == "timm":
        import timm

        return list(timm.list_models())
    if library == "torchvision":
        import torchvision

        return list(torchvision.models.list_models(module=torchvision.models))
    applications = _keras_applications()
    return [n for n in dir(applications) if callable(getattr(applications, n)) and n[0].isupper()]


def _keras_applications() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    if keras.backend.backend() != "torch":
        raise InputError(
            f"Keras runs on {keras.backend.backend()} here; set KERAS_BACKEND=torch to compare it"
        )
    return keras.applications
