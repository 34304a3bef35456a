"""Starting weights for fine-tuning: another model's, with or without its head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xception.errors import InputError
from xception.models.input_kernel import adapt_input_kernel
from xception.models.registry import create_model
from xception.weights.description import ModelDescription, StoredModel
from xception.weights.matching import assign
from xception.weights.reading import read_stored

HEAD_PREFIXES = ("head.", "classifier.", "fc.")
"""Where the models keep what comes after the last feature map."""


@dataclass(frozen=True)
class BackboneReport:
    """What came into a model and what did not.

    Attributes:
        description: What the source's file says of its model.
        kept: Names of the model that keep their random values: those of its head, if it is new.
        left_out: Names of the file that were not used: those of its head then.
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
    head_rows: Sequence[int] | None = None,
) -> BackboneReport:
    """Puts all weights of another model's file but the head's into ``model``, in place.

    With ``head_rows`` the head's come, too.

    Args:
        model: A model of `create_model` with the file's architecture, of any number of classes.
            With other ``in_channels`` the file's first kernel is adapted to them.
        source: As for `open_model`: a file, a run directory, an address or a name.
        kind: What a file of another project is to be taken for; recognised by default.
        input_kernel: How the first kernel is adapted to other ``in_channels``, see
            `adapt_input_kernel`.
        head_rows: For each of the model's classes its row in the file's classifier, as
            `xception.weights.head_choice.choose_head` finds them.

    Raises:
        InputError: The file is of another architecture or numerics profile, or its tensors do not
            fit; nothing has changed then.
    """
    stored = read_stored(source, kind=kind)
    if head_rows is None:
        return _assign_backbone(model, stored, input_kernel)
    body, adapted = _body(model, stored, input_kernel)
    assign(model, body | _head_in_order(model, stored, head_rows), str(stored.path))
    return BackboneReport(stored.description, kept=[], left_out=[], adapted=adapted)


def _assign_backbone(
    model: nn.Module, stored: StoredModel, input_kernel: Literal["sum", "repeat"] = "sum"
) -> BackboneReport:
    body, adapted = _body(model, stored, input_kernel)
    kept = {k: v for k, v in model.state_dict().items() if k.startswith(HEAD_PREFIXES)}
    assign(model, {**body, **kept}, str(stored.path))
    return BackboneReport(
        description=stored.description,
        kept=sorted(kept),
        left_out=sorted(_head(stored)),
        adapted=adapted,
    )


def changed_model(
    stored: StoredModel, num_classes: int | None, changes: Mapping[str, Any]
) -> nn.Module:
    """Builds a stored model with other arguments than its file says, and gives it the weights.

    Args:
        stored: The model.
        num_classes: Logits of a fresh head in the place of the stored one; None keeps that one.
        changes: Other arguments of the network. With ``features_only`` there is no head; for other
            ``in_channels`` the first kernel is adapted as in `load_backbone`.

    Raises:
        InputError: There is no such argument, or the tensors do not fit the changed network, or
            would compute something else in it.
    """
    given = dict(changes) if num_classes is None else {**changes, "num_classes": num_classes}
    described = stored.description
    model = create_model(described.architecture, **{**described.arguments, **given})
    if num_classes is not None or getattr(model, "features_only", False):
        _assign_backbone(model, stored)
    else:
        assign(model, _body(model, stored, "sum")[0] | _head(stored), str(stored.path))
    return model


def _head(stored: StoredModel) -> dict[str, Tensor]:
    return {k: v for k, v in stored.tensors.items() if k.startswith(HEAD_PREFIXES)}


def _head_in_order(model: nn.Module, stored: StoredModel, rows: Sequence[int]) -> dict[str, Tensor]:
    """The file's head with the rows of its classifier, the last dense layer, in another order."""
    classifier = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    of_classes = (f"{classifier[-1]}.weight", f"{classifier[-1]}.bias")
    head = _head(stored)
    return {name: v[list(rows)] if name in of_classes else v for name, v in head.items()}


def _body(
    model: nn.Module, stored: StoredModel, input_kernel: Literal["sum", "repeat"]
) -> tuple[dict[str, Tensor], str | None]:
    """All tensors but the head's, the first kernel adapted to the model, with its name if it was.

    Raises:
        InputError: The model is another network.
    """
    _check_same_network(model, stored.description, str(stored.path))
    body = {k: v for k, v in stored.tensors.items() if not k.startswith(HEAD_PREFIXES)}
    channels = int(model.in_channels)  # type: ignore[arg-type]
    if stored.description.arguments.get("in_channels", 3) == channels:
        return body, None
    name = _first_kernel(model)
    body[name] = adapt_input_kernel(body[name], channels, input_kernel)
    return body, name


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
