"""What a weights file says of its model, so that nothing about the model lives elsewhere."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from xception.errors import InputError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class ModelDescription:
    """A model without its tensors.

    Attributes:
        architecture: A name that `create_model` knows.
        arguments: All of the constructor's arguments, as JSON primitives.
        numerics: The profile, "keras" or "timm": pooling and BatchNorm constants.
        class_names: One name for each logit, or None where the file does not tell.
        preprocessing: `Preprocessing.to_dict()`, or None where the file does not tell.
        provenance: Where the weights come from: free keys, JSON primitives.
        multi_label: Whether an image may have several of the classes: probabilities are then the
            sigmoids of the logits, else their softmax.
        format_version: Of this description; readers refuse newer ones.
    """

    architecture: str
    arguments: dict[str, Any]
    numerics: str
    class_names: list[str] | None = None
    preprocessing: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    multi_label: bool = False
    format_version: int = FORMAT_VERSION

    @property
    def num_classes(self) -> int | None:
        """The number of logits; 0 for a model without its top."""
        return self.arguments.get("num_classes")

    def to_json(self) -> str:
        """The description as one line of JSON.

        Raises:
            InputError: Something in it is no JSON primitive.
        """
        try:
            told = json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)
            told.encode()  # the name of a folder may be no UTF-8
            return told
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the model's description can't be written ({error}): "
                "give text, numbers, true/false, lists and dictionaries only"
            ) from error

    @classmethod
    def from_dict(cls, given: Any, origin: str) -> "ModelDescription":
        """Checks what a file says.

        Args:
            given: The parsed description.
            origin: The file's name, for messages.

        Raises:
            InputError: A key is missing or ill-typed, or the format is newer than this program.
        """
        if not isinstance(given, dict):
            raise InputError(f"{origin}: the description of the model is not a dictionary")
        version = given.get("format_version", FORMAT_VERSION)
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise InputError(
                f"{origin} has format version {version}, this program reads up to "
                f"{FORMAT_VERSION}: update it (pip install --upgrade xception)"
            )
        kinds = {
            "architecture": str,
            "arguments": dict,
            "numerics": str,
            "class_names": (list, type(None)),
            "preprocessing": (dict, type(None)),
            "provenance": dict,
            "multi_label": bool,
        }
        defaults: dict[str, Any] = {
            "class_names": None,
            "preprocessing": None,
            "provenance": {},
            "multi_label": False,  # of files that were written before there was this key
        }
        found: dict[str, Any] = {name: given.get(name, defaults.get(name)) for name in kinds}
        for name, kind in kinds.items():
            if not isinstance(found[name], kind):  # type: ignore[arg-type]
                raise InputError(
                    f"{origin}: the description of the model has no valid '{name}' "
                    f"({found[name]!r}); write the file anew with save_model"
                )
        return cls(**found, format_version=version)


@dataclass(frozen=True)
class StoredModel:
    """A model's description and tensors under our names, before they are one.

    Attributes:
        description: What to build.
        tensors: Values by the names of the model's state dict.
        path: The file that they come from.
        kind: What the file was recognised as, a word of ``--kind``.
        container: The same in words, for people.
        ignored: Names in the file that are known and not needed (an auxiliary tower).
    """

    description: ModelDescription
    tensors: dict[str, Tensor]
    path: Path
    kind: str
    container: str
    ignored: list[str] = field(default_factory=list)
