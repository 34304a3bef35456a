"""From any weights file to one of this project, or back to Keras: what ``convert`` does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from xception.errors import InputError
from xception.weights.description import StoredModel
from xception.weights.files import build, save_model
from xception.weights.keras_writer import write_keras
from xception.weights.reading import Averaging, read_stored

TARGETS = (".safetensors", ".weights.h5")


def convert(
    source: str | Path,
    target: str | Path,
    *,
    kind: str | None = None,
    weights: Averaging = "polyak",
    class_names: list[str] | None = None,
    preprocessing: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> StoredModel:
    """Reads a model from ``source`` and writes it to ``target``.

    Args:
        source: A weights file of any known kind, a run directory, an address or a name.
        target: A ``.safetensors`` (this project's, with everything in its header) or a
            ``.weights.h5`` (Keras 3's, which carries no class names and no preprocessing).
        kind: What the source is to be taken for; recognised by default.
        weights: Averaged or raw, where the source has both.
        class_names: Replaces the source's; one for each logit.
        preprocessing: Fields of `Preprocessing` that replace the source's.
        overwrite: Whether a target that is there may be replaced.

    Returns:
        The source, as it was recognised, with the replaced entries.

    Raises:
        InputError: The source is bad, the target exists or has another ending, or Keras can't
            express the model. Nothing is written then.
    """
    target = Path(target)
    if not target.name.endswith(TARGETS):
        raise InputError(
            f"the target {target} has to end in .safetensors (this project) or .weights.h5 "
            "(Keras 3): the ending decides what is written"
        )
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists: take another name, or allow it with --overwrite")
    if not target.parent.is_dir():
        raise InputError(f"there is no directory {target.parent} to write {target.name} into")
    stored = read_stored(source, weights=weights, kind=kind)
    if preprocessing:
        told = {**(stored.description.preprocessing or {}), **preprocessing}
        stored = replace(stored, description=replace(stored.description, preprocessing=told))
    if class_names is not None:
        stored = replace(stored, description=replace(stored.description, class_names=class_names))
    loaded = build(stored)  # proves that every tensor is there and fits
    stored = replace(
        stored,
        description=replace(stored.description, arguments=dict(loaded.model.arguments)),  # type: ignore[arg-type]
    )
    if target.suffix == ".safetensors":
        save_model(
            loaded.model,
            target,
            class_names=loaded.class_names,
            preprocessing=loaded.preprocessing,
            provenance=stored.description.provenance,
            multi_label=stored.description.multi_label,
        )
    else:
        write_keras(stored, target)
    return stored
