"""Reading tensors from PyTorch's and safetensors' files, without running anything in them."""

import argparse
import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xception.errors import InputError

PREFIXES = ("_orig_mod.", "module.", "model.")
"""What torch.compile, DataParallel and Lightning put before every name."""

METADATA_KEY = "xception"

_HARMLESS: list[Any] = [argparse.Namespace]
"""What training scripts, timm's among them, put beside the tensors: a bag of options, and unpickled
as such it does nothing but hold them."""


def read_pickled(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of tensors and primitives (``.pth``, ``.pt``, ``.ckpt``).

    Args:
        path: A file written by ``torch.save``, in today's or the older format.

    Raises:
        InputError: The file is truncated, is no such file, or holds Python objects (refused:
            loading them could run any program).
    """
    with path.open("rb") as file:
        start = file.read(4)
    try:
        if start[:2] == b"PK" and not zipfile.is_zipfile(path):
            raise EOFError("the archive's end is not there")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, which say nothing here
            with torch.serialization.safe_globals(_HARMLESS):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is not a plain tensor checkpoint: it holds Python objects, or is no "
            "checkpoint at all; it is refused, as loading it could run any program: "
            "save the model's state_dict() alone"
        ) from error
    except Exception as error:  # the reader of a damaged file may raise anything
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__} and no dictionary of tensors: "
            "save the model's state_dict()"
        )
    return content


def damaged(path: Path, error: Exception) -> InputError:
    """What to raise where reading a file raised ``error``, whatever that was."""
    return InputError(
        f"{path} is truncated or damaged ({first_line(error)}): fetch or copy it again"
    )


def first_line(error: Exception) -> str:
    """The beginning of an error's message; its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__


def read_safetensors_metadata(path: Path) -> dict[str, Any]:
    """Reads the header's metadata; our own entry comes parsed, and no tensor is read.

    Raises:
        InputError: The file is truncated or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = dict(file.metadata() or {})
        if METADATA_KEY in metadata:
            metadata[METADATA_KEY] = json.loads(metadata[METADATA_KEY])
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is truncated or is no safetensors file ({first_line(error)}): "
            "fetch or copy it again"
        ) from error
    return metadata


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Reads all tensors of a safetensors file.

    Raises:
        InputError: The file is truncated or is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is truncated or is no safetensors file ({first_line(error)}): "
            "fetch or copy it again"
        ) from error


def plain_tensors(content: dict[str, Any], origin: str) -> dict[str, Tensor]:
    """Finds the state dict in a checkpoint and takes the prefixes off its names.

    Args:
        content: What the file holds: a state dict, or one under "state_dict", "model" and such.
        origin: The file's name, for messages.

    Raises:
        InputError: There is no state dict.

    Example:
        >>> import torch
        >>> list(plain_tensors({"state_dict": {"module.fc.bias": torch.zeros(2)}}, "a.pth"))
        ['fc.bias']
    """
    for key in ("state_dict_ema", "model_ema", "state_dict", "model", "net", "weights"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{origin} holds no tensors by name: save the model's state_dict()")
    return without_prefixes(tensors)


def without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Takes off every prefix of `PREFIXES` that all names carry, in any order and number.

    The counter that torch's AveragedModel puts beside its ``module.`` is left out.
    """
    named = {name: value for name, value in tensors.items() if name != "n_averaged"}
    if all(name.startswith("module.") for name in named):
        tensors = named
    while tensors and (
        prefix := next((p for p in PREFIXES if all(k.startswith(p) for k in tensors)), None)
    ):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors
