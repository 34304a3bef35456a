"""The kinds of files that are exported: how each is made, written, read and run."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xception.errors import InputError, nearest
from xception.export.conversion import (
    ONNX_OPSET,
    to_onnx,
    to_openvino,
    to_program,
    write_onnx,
    write_openvino,
)
from xception.export.engine import Run
from xception.export.exported_description import ENTRIES, ExportedDescription
from xception.export.extras import require_library
from xception.export.program_check import METADATA_FILE
from xception.export.quantisation import Scale, quantise_onnx, quantise_openvino
from xception.export.runtimes import run_onnxruntime, run_openvino, run_program


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: For ``--format``.
        title: For people.
        suffixes: Of its files; the first is the one that is named, written last and read first.
        libraries: What writing and running it needs.
        int8_libraries: What 8 bits need besides.
        precisions: Those that it has, the first by default.
        convert: Makes it of a network, example images and the name of the output.
        quantise: Makes it 8-bit: of it, calibration images, their scaling and the weights' bits.
        write: Writes it with its description.
        read: The metadata of a file.
        run: Makes a file a function of its input on the CPU, for a number of threads.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    libraries: tuple[str, ...]
    int8_libraries: tuple[str, ...]
    precisions: tuple[str, ...]
    convert: Callable[[nn.Module, Tensor, str], Any]
    quantise: Callable[[Any, Any, Scale, int], Any] | None
    write: Callable[[Any, Path, ExportedDescription], None]
    read: Callable[[Path], Mapping[str, Any]]
    run: Callable[[Path, int], Run]

    def require_libraries(self, precision: str = "float32") -> None:
        """Checks that what writing and running needs is installed.

        Raises:
            InputError: It is not; the message names the extra.
        """
        more = self.int8_libraries if precision == "int8" else ()
        for library in (*self.libraries, *more):
            require_library(library, remedy="")


def _write_onnx(model: Any, path: Path, description: ExportedDescription) -> None:
    model.producer_name, model.producer_version = "xception", description.producer.split()[-1]
    write_onnx(model, path, description.to_strings())


def _read_onnx(path: Path) -> Mapping[str, Any]:
    onnx = require_library("onnx", remedy="")
    model = onnx.load(path, load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}


def _write_openvino(model: Any, path: Path, description: ExportedDescription) -> None:
    half = description.precision == "float16"
    write_openvino(model, path, description.to_strings(), half=half)


def _read_openvino(path: Path) -> Mapping[str, Any]:
    openvino = require_library("openvino", remedy="")
    model = openvino.Core().read_model(path)
    places = {name: ["xception", name] for name in ENTRIES}
    return {
        name: model.get_rt_info(place).astype(str)
        for name, place in places.items()
        if model.has_rt_info(place)
    }


def _write_program(
    program: torch.export.ExportedProgram, path: Path, description: ExportedDescription
) -> None:
    told = json.dumps(description.to_metadata(), ensure_ascii=False, indent=2)
    torch.export.save(program, path, extra_files={METADATA_FILE: told})


def _read_program(path: Path) -> Mapping[str, Any]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(f"/extra/{METADATA_FILE}"):
                return dict(json.loads(archive.read(name)))
    return {}


ONNX = Format(
    name="onnx",
    title=f"ONNX, opset {ONNX_OPSET}",
    suffixes=(".onnx",),
    libraries=("onnx", "onnxscript", "onnxruntime"),
    int8_libraries=(),
    precisions=("float32", "float16", "int8"),
    convert=to_onnx,
    quantise=quantise_onnx,
    write=_write_onnx,
    read=_read_onnx,
    run=run_onnxruntime,
)
OPENVINO = Format(
    name="openvino",
    title="OpenVINO IR",
    suffixes=(".xml", ".bin"),
    libraries=("openvino",),
    int8_libraries=("nncf",),
    precisions=("float32", "float16", "int8"),
    convert=to_openvino,
    quantise=quantise_openvino,
    write=_write_openvino,
    read=_read_openvino,
    run=lambda path, threads: run_openvino(path, threads, batch_size=1),
)
PROGRAM = Format(
    name="pt2",
    title="torch.export program",
    suffixes=(".pt2",),
    libraries=(),
    int8_libraries=(),
    precisions=("float32",),
    convert=lambda network, images, _: to_program(network, images),
    quantise=None,
    write=_write_program,
    read=_read_program,
    run=run_program,
)
FORMATS = {known.name: known for known in (ONNX, PROGRAM, OPENVINO)}

_ELSEWHERE = {
    ".keras": "xception convert MODEL TARGET.weights.h5 writes weights for keras.applications",
    ".h5": "xception convert MODEL TARGET.weights.h5 writes weights for keras.applications",
    ".safetensors": "xception convert MODEL TARGET.safetensors writes this package's own files",
    ".tflite": "convert an exported .pt2 with litert-torch, see docs/export.md",
    ".bin": "name the .xml of the pair",
}


def format_of(path: Path, name: str | None = None) -> Format:
    """The format of a file's name.

    Args:
        path: The file.
        name: The format that is asked for; by default the suffix decides.

    Raises:
        InputError: There is no such format, or the suffix is another's.
    """
    if name is not None and name not in FORMATS:
        raise InputError(
            f"there is no format '{name}'{nearest(name, list(FORMATS))} "
            f"(known: {', '.join(FORMATS)})"
        )
    by_suffix = next((known for known in FORMATS.values() if is_named_as(path, known)), None)
    if by_suffix is None or (name is not None and by_suffix.name != name):
        endings = FORMATS[name].suffixes[0] if name else ", ".join(_endings())
        hint = _ELSEWHERE.get(path.suffix.lower(), "")
        raise InputError(f"the target {path} has to end in {endings}{hint and f'; {hint}'}")
    return by_suffix


def is_named_as(path: Path, known: Format) -> bool:
    """Whether a file's name has the ending of a format."""
    return path.suffix == known.suffixes[0]


def _endings() -> list[str]:
    return [known.suffixes[0] for known in FORMATS.values()]
