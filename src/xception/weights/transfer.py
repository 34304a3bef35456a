"""Starting weights for fine-tuning: everything but the head comes from another model's file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from xception.errors import InputError
from xception.models.input_kernel import adapt_input_kernel
from xception.models.registry import create_model
from xception.weights.description import ModelDescription
from xception.weights.matching import assign
from xception.weights.reading import read_stored

HEAD_PREFIXES = ("head.", "classifier.", "fc.")
"""Where the models keep what comes after the last feature map."""


@dataclass(frozen=True)
class BackboneReport:
    """What came into a model and what did not.

    Attributes:
        description: What the source's file says of its model.
        kept: Names of the model that keep their random values: those of its head.
        left_out: Names of the file that were not used: those of its head.
        adapted: The first kernel's name when its input channels were changed, else None.
    """

    description: ModelDescription
    kept: list[str]
    left_out: list[str]
    adapted: str | None


@torch.no_grad()
def load_backbone(
    model: nn.Module,
    source: str | Path,
    *,
    kind: str | None = None,
    input_kernel: Literal["sum", "repeat"] = "sum",
) -> BackboneReport:
    """Puts all weights of another model's file but the head's into ``model``, in place.

    Args:
        model: A model of `create_model` with the file's architecture, of any number of classes.
            With other ``in_channels`` the file's first kernel is adapted to them.
        source: As for `open_model`: a file, a run directory, an address or a name.
        kind: What a file of another project is to be taken for; recognised by default.
        input_kernel: How the first kernel is adapted to other ``in_channels``, see
            `adapt_input_kernel`.

    Raises:
        InputError: The file is of another architecture or numerics profile, or its tensors do not
            fit; nothing has changed then.
    """
    stored = read_stored(source, kind=kind)
    described = stored.description
    origin = str(stored.path)
    _check_same_network(model, described, origin)
    needed = model.state_dict()
    body = {k: v for k, v in stored.tensors.items() if not k.startswith(HEAD_PREFIXES)}
    kept = {k: v for k, v in needed.items() if k.startswith(HEAD_PREFIXES)}
    adapted = None
    given_channels = described.arguments.get("in_channels", 3)
    if given_channels != model.in_channels:
        adapted = _first_kernel(model)
        body[adapted] = adapt_input_kernel(
            body[adapted],
            int(model.in_channels),  # type: ignore[arg-type]
            input_kernel,
        )
    assign(model, {**body, **kept}, origin)
    return BackboneReport(
        description=described,
        kept=sorted(kept),
        left_out=sorted(k for k in stored.tensors if k.startswith(HEAD_PREFIXES)),
        adapted=adapted,
    )


def _check_same_network(model: nn.Module, described: ModelDescription, origin: str) -> None:
    """Raises where the same tensors would compute something else.

    Raises:
        InputError: The architecture or an argument without tensors differs.
    """
    if described.architecture != model.architecture:
        raise InputError(
            f"{origin} holds a '{described.architecture}', and the model is a "
            f"'{model.architecture}': give weights of that architecture, or set model.name"
        )
    told = create_model_arguments(described)
    mine: dict[str, object] = model.arguments  # type: ignore[assignment]
    for name in ("numerics", "order", "intermediate_activation", "variant"):
        if name in mine and told.get(name) != mine[name]:
            raise InputError(
                f"{origin} was made with {name}={told.get(name)!r}, and the model has "
                f"{mine[name]!r}: set model.{name} to {told.get(name)!r}"
            )


def create_model_arguments(described: ModelDescription) -> dict[str, object]:
    """All arguments of a described model, the ones that its file leaves out at their defaults."""
    with torch.device("meta"):
        model = create_model(described.architecture, **described.arguments)
    return dict(model.arguments)  # type: ignore[arg-type]


def _first_kernel(model: nn.Module) -> str:
    """The name of the convolution's weight that reads the images."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return f"{name}.weight"
    raise InputError(f"a {type(model).__name__} has no convolution to adapt")
