"""The libraries of the extras ``onnx`` and ``openvino``, imported when an engine is used."""

import logging
import os
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from xception.errors import InputError

_EXTRA = {
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "nncf": "openvino",
}


def require_library(name: str, remedy: str = ", or take another --engine") -> Any:
    """Imports a library of an extra.

    OpenVINO and NNCF report each use to their makers, unless they find that the module which sends
    the reports is missing; for this process it is. ONNX Runtime does unless a variable says no, and
    tells on standard error if it can't keep its number for this machine. So nothing leaves it.

    Args:
        name: The library.
        remedy: What else the user can do, after the command that installs it.

    Raises:
        InputError: It is not installed, or can't be loaded; the message names the extra.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if _EXTRA[name] == "openvino":
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    # Imported by nncf; where CUDA is installed but no GPU is there, it warns, of no matter here.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        return import_module(name)
    except ImportError as error:
        extra = _EXTRA[name]
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        why = "is not installed" if missing else f"can't be loaded ({error})"
        raise InputError(
            f"the library {name} {why}: pip install 'xception[{extra}]'{remedy}"
        ) from None


def is_installed(*names: str) -> bool:
    """Whether all of these libraries are there, without importing them."""
    return all(find_spec(name) is not None for name in names)


def versions_of(*names: str) -> dict[str, str]:
    """The installed versions of libraries; "none" for one that is absent.

    Example:
        >>> versions_of("no-such-library")
        {'no-such-library': 'none'}
    """
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found
