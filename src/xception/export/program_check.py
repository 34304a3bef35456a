"""Whether a ``.pt2`` holds nothing but tensors and the operations of a network.

``torch.export.load`` can run code that a file brings: pickled objects among the weights or the
example images, compiled libraries, names of any function below ``torch``, expressions that are
evaluated. The files of ``xception export`` have none of these, so whatever has is refused before
torch opens it.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from xception.errors import InputError

METADATA_FILE = "xception.json"

_MEMBERS = re.compile(
    r"[^/]+/("
    r"archive_format|archive_version|byteorder|version|\.data/version|\.data/serialization_id|"
    r"data/weights/(weight_\d+|model_weights_config\.json)|"
    r"data/constants/(tensor_\d+|model_constants_config\.json)|"
    rf"data/sample_inputs/model\.pt|models/model\.json|extra/{re.escape(METADATA_FILE)})"
)
_OPERATIONS = re.compile(r"torch\.ops\.aten\.(?!__)\w+\.(?!__)\w+")
_SYMBOLS = re.compile(r"\w+|Symbol\('\w+'(, (positive|integer)=True)*\)")


def plain_program(path: Path) -> io.BytesIO:
    """The file's content, for ``torch.export.load``, where it can't do more than compute a network.

    It is packed anew: of one file, Python's reader of archives and torch's can be made to see
    different members.

    Raises:
        InputError: It holds more than that, or is damaged.
    """
    checked = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(checked, "w") as copy:
            for name in dict.fromkeys(archive.namelist()):
                if not _MEMBERS.fullmatch(name):
                    raise _refused(path, f"the member {name}")
                content = archive.read(name)
                if name.endswith("_config.json"):
                    _require_plain_tensors(path, json.loads(content))
                elif name.endswith("/models/model.json"):
                    _require_operations(path, json.loads(content))
                elif name.endswith("/sample_inputs/model.pt"):
                    _require_no_objects(path, content)
                copy.writestr(zipfile.ZipInfo(name), content)
    except (zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({error}): export it again") from error
    checked.seek(0)
    return checked


def _require_plain_tensors(path: Path, config: Any) -> None:
    for name, entry in config["config"].items():
        if entry.get("use_pickle") is not False:
            raise _refused(path, f"a pickled object, {name}")


def _require_no_objects(path: Path, content: bytes) -> None:
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception:  # the unpickler's refusal, or whatever bytes that are no archive raise
        raise _refused(path, "a pickled object among the example images") from None


def _require_operations(path: Path, program: Any) -> None:
    for key, text in _texts(program):
        if key == "target" and not _OPERATIONS.fullmatch(text):
            raise _refused(path, f"the operation {text}")
        if key == "guards_code" or (key == "expr_str" and not _SYMBOLS.fullmatch(text)):
            raise _refused(path, f"the expression {text[:60]}")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in JSON, with the key that it stands under."""
    if isinstance(value, dict):
        for name, inside in value.items():
            yield from _texts(inside, name)
    elif isinstance(value, list):
        for inside in value:
            yield from _texts(inside, key)
    elif isinstance(value, str):
        yield key, value


def _refused(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} holds {what}, which no file of xception export does: torch.export.load could run "
        "code from it; open it only with torch itself, and only if you trust its source"
    )
