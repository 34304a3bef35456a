"""Saving a model with all that belongs to it, and loading it again from whatever holds it.

A file of ours is a safetensors file whose header carries architecture, arguments, class names,
numerics profile, preprocessing and provenance: prediction, evaluation and fine-tuning take them
from there, so that they can't drift.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from xception.errors import InputError
from xception.models.registry import create_model
from xception.weights.atomic import replacing
from xception.weights.containers import METADATA_KEY, without_prefixes
from xception.weights.description import ModelDescription, StoredModel
from xception.weights.matching import assign
from xception.weights.reading import Averaging, read_description, read_stored
from xception.weights.transfer import changed_model

if TYPE_CHECKING:
    from xception.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class LoadedModel:
    """A model from a file, with what its file says.

    Attributes:
        model: In eval mode, float32, on the CPU.
        class_names: One for each logit, or None where the file does not tell.
        preprocessing: How images become the model's input (the default where the file is silent).
        description: All that the file says.
        path: The file that the tensors come from.
    """

    model: nn.Module
    class_names: list[str] | None
    preprocessing: "Preprocessing"
    description: ModelDescription
    path: Path


def save_model(
    model: nn.Module,
    path: str | Path,
    *,
    class_names: list[str] | None = None,
    preprocessing: "Preprocessing | None" = None,
    provenance: dict[str, Any] | None = None,
    multi_label: bool = False,
) -> None:
    """Writes a model into a ``.safetensors`` file, whole or not at all.

    Args:
        model: A model of `create_model`; also compiled, or in a wrapper that has it as ``module``
            (DistributedDataParallel, `torch.optim.swa_utils.AveragedModel`).
        path: The file; its directory exists. A file that is there is replaced.
        class_names: One for each logit.
        preprocessing: How images become the model's input.
        provenance: Where the weights come from: free keys, JSON primitives.
        multi_label: Whether it was trained with a sigmoid for each class, as an image may have
            several of them.

    Raises:
        InputError: The number of names differs from that of the logits, or the directory does not
            exist.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if not hasattr(model, "architecture") and isinstance(
        inside := getattr(model, "module", None), nn.Module
    ):
        model = inside
    description = describe(model, class_names, preprocessing, provenance, multi_label)
    if not path.parent.is_dir():
        raise InputError(f"there is no directory {path.parent} to write {path.name} into: make it")
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in without_prefixes(dict(model.state_dict())).items()
    }
    metadata = {"format": "pt", METADATA_KEY: description.to_json()}
    with replacing(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def describe(
    model: nn.Module,
    class_names: list[str] | None = None,
    preprocessing: "Preprocessing | None" = None,
    provenance: dict[str, Any] | None = None,
    multi_label: bool = False,
) -> ModelDescription:
    """Describes a model of `create_model`.

    Raises:
        InputError: It is no such model, or the number of names differs from that of the logits.
    """
    for needed in ("architecture", "arguments", "num_classes"):
        if not hasattr(model, needed):
            raise InputError(
                f"a {type(model).__name__} is none of this project's models (it has no "
                f"'{needed}'), so a file could not say how to build it: use create_model"
            )
    if class_names is not None and len(class_names) != model.num_classes:
        raise InputError(
            f"{len(class_names)} class names for {model.num_classes} logits: give one for each"
        )
    return ModelDescription(
        architecture=str(model.architecture),
        arguments=dict(model.arguments),  # type: ignore[arg-type]
        numerics=str(getattr(model, "numerics", "timm")),
        class_names=None if class_names is None else [str(name) for name in class_names],
        preprocessing=None if preprocessing is None else preprocessing.to_dict(),
        provenance=provenance or {},
        multi_label=multi_label,
    )


def build(
    stored: StoredModel, num_classes: int | None = None, changes: Mapping[str, Any] | None = None
) -> LoadedModel:
    """Builds what a description says and puts the tensors into it.

    Args:
        stored: Description and tensors.
        num_classes: As for `open_model`.
        changes: As for `open_model`.

    Raises:
        InputError: The tensors do not fit the description; all differences are listed.
    """
    from xception.data.preprocessing import Preprocessing

    described = stored.description
    if num_classes is None and not changes:
        with torch.random.fork_rng(devices=[]):  # the random weights are overwritten at once
            model = create_model(described.architecture, **described.arguments)
        assign(model, stored.tensors, str(stored.path))
    else:
        model = changed_model(stored, num_classes, changes or {})
        described = replace(
            described,
            arguments=dict(model.arguments),  # type: ignore[arg-type]
            class_names=described.class_names if num_classes is None else None,
            multi_label=described.multi_label and num_classes is None,
        )
    told = described.preprocessing
    return LoadedModel(
        model=model.eval(),
        class_names=described.class_names,
        preprocessing=Preprocessing.from_dict(told) if told else Preprocessing(),
        description=described,
        path=stored.path,
    )


def open_model(
    source: str | Path,
    *,
    weights: Averaging = "polyak",
    kind: str | None = None,
    num_classes: int | None = None,
    **changes: Any,
) -> LoadedModel:
    """Builds the model that ``source`` describes, with its classes and preprocessing.

    Args:
        source: A run directory, a checkpoint, a weights file, an address or a name.
        weights: The Polyak-averaged weights, or the raw ones of the last step (checkpoints and run
            directories only). A checkpoint without averaged weights gives its raw ones.
        kind: What a file of another project is to be taken for; recognised by default.
        num_classes: Logits of a fresh, random head in the place of the file's; 0 leaves it out, so
            that the pooled features come out. None keeps the file's.
        **changes: Other arguments of the network than the file says that its tensors still fit:
            ``dropout``, ``drop_path``, ``features_only``, ``output_stride``, ``stem_strides``,
            ``in_channels`` (the first kernel is adapted), ``fused``.

    Returns:
        The model in eval mode and what its file says; with a fresh head, no class names.

    Raises:
        InputError: There is nothing there, it is truncated, holds Python objects, or its tensors
            do not fit what it describes.
    """
    return build(read_stored(source, weights=weights, kind=kind), num_classes, changes)


def load_model(source: str | Path, *, num_classes: int | None = None, **changes: Any) -> nn.Module:
    """Builds the model that ``source`` describes and returns it in eval mode.

    Args:
        source: A run directory, a checkpoint, a weights file, an address or a name.
        num_classes: As for `open_model`: a fresh head.
        **changes: As for `open_model`: other arguments of the network.

    Raises:
        InputError: As `open_model`.
    """
    return open_model(source, num_classes=num_classes, **changes).model


__all__ = [
    "LoadedModel",
    "StoredModel",
    "describe",
    "load_model",
    "open_model",
    "read_description",
    "read_stored",
    "save_model",
]
