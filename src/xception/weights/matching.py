"""Putting tensors into a model strictly: what is missing, extra or misshapen is listed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xception.errors import InputError

LISTED = 8
"""How many names of each sort a message spells out."""

_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Mismatch:
    """How a set of tensors differs from what a model needs.

    Attributes:
        missing: Names that only the model has.
        extra: Names that only the file has.
        misshapen: (name, shape in the file, shape in the model).
    """

    missing: list[str]
    extra: list[str]
    misshapen: list[tuple[str, tuple[int, ...], tuple[int, ...]]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.misshapen)

    def __str__(self) -> str:
        sorts = {
            "missing": self.missing,
            "extra": self.extra,
            "misshapen": [
                f"{name} ({_by(found)} in the file, {_by(needed)} in the model)"
                for name, found, needed in self.misshapen
            ],
        }
        return "; ".join(
            f"{len(names)} {sort}: {enumerate_names(names)}"
            for sort, names in sorts.items()
            if names
        )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def enumerate_names(names: Iterable[str], listed: int = LISTED) -> str:
    """The first names, and how many more there are.

    Example:
        >>> enumerate_names(["a", "b", "c"], listed=2)
        'a, b and 1 more'
    """
    names = list(names)
    rest = f" and {len(names) - listed} more" if len(names) > listed else ""
    return ", ".join(names[:listed]) + rest


def dimension(tensors: Mapping[str, Tensor], name: str, axis: int, rank: int, origin: str) -> int:
    """One size of a tensor that a file has to hold, such as the first kernel's input channels.

    Args:
        tensors: The file's tensors.
        name: Which one.
        axis: Which of its sizes.
        rank: How many sizes it should have.
        origin: The file's name, for messages.

    Raises:
        InputError: The tensor is missing or has another rank.
    """
    if name not in tensors:
        raise InputError(f"{origin} has no tensor {name}: fetch it again, or give the whole model")
    shape = tuple(tensors[name].shape)
    if len(shape) != rank:
        raise InputError(
            f"{origin}: {name} has the shape {_by(shape)} and should have {rank} sizes: "
            "fetch it again, or give the right file"
        )
    return shape[axis]


def head_classes(tensors: Mapping[str, Tensor], name: str, origin: str) -> int:
    """The number of classes of a dense layer with bias; 0 for a file without it.

    Args:
        tensors: The file's tensors.
        name: The layer's name, weight (classes, features) and bias (classes).
        origin: The file's name, for messages.

    Raises:
        InputError: Only one of weight and bias is there, or they do not fit each other.
    """
    weight, bias = f"{name}.weight", f"{name}.bias"
    if weight not in tensors and bias not in tensors:
        return 0
    classes = dimension(tensors, weight, 0, 2, origin)
    if dimension(tensors, bias, 0, 1, origin) != classes:
        raise InputError(
            f"{origin}: {weight}'s shape {_by(tuple(tensors[weight].shape))} does not fit "
            f"{bias}'s {_by(tuple(tensors[bias].shape))}: it should be (classes, features)"
        )
    return classes


def compare_with_model(tensors: Mapping[str, Tensor], model: nn.Module) -> Mismatch:
    """Compares names and shapes; BatchNorm's batch counters may be absent or too many.

    Args:
        tensors: Names and tensors, as in ``model.state_dict()``.
        model: The model that they are meant for.
    """
    needed = model.state_dict()
    return Mismatch(
        missing=[k for k in needed if k not in tensors and not k.endswith(_COUNTER)],
        extra=[k for k in tensors if k not in needed and not k.endswith(_COUNTER)],
        misshapen=[
            (k, tuple(tensors[k].shape), tuple(needed[k].shape))
            for k in needed
            if k in tensors and tensors[k].shape != needed[k].shape
        ],
    )


@torch.no_grad()
def assign(model: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Copies tensors into a model, all of them or none.

    Args:
        model: Receives the values; its types and devices stay.
        tensors: Exactly the model's names and shapes (batch counters may be absent).
        origin: The file's name, for messages.

    Raises:
        InputError: Something is missing, extra, misshapen, not finite or no plain number.
    """
    if mismatch := compare_with_model(tensors, model):
        raise InputError(
            f"{origin} does not fit the model {type(model).__name__}: {mismatch}; "
            "give the arguments that the weights were made with, or the right file"
        )
    odd = [k for k in tensors if not k.endswith(_COUNTER) and not _is_plain(tensors[k])]
    if odd:
        raise InputError(
            f"{origin} holds other things than plain floating-point numbers in "
            f"{enumerate_names(odd)} ({tensors[odd[0]].dtype}), as quantised or sparse files do: "
            "take the file that it was made from"
        )
    broken = [k for k, v in tensors.items() if not v.float().isfinite().all()]
    if broken:
        raise InputError(
            f"{origin} holds NaN or infinity in {enumerate_names(broken)}: "
            "take another file, or an earlier checkpoint"
        )
    model.load_state_dict(dict(tensors), strict=False)


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is floating-point numbers in memory, each of which counts as it stands."""
    return tensor.is_floating_point() and tensor.layout == torch.strided and not tensor.is_meta
