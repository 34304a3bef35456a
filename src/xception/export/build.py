"""One engine for a model: converted once, the conversion kept beside the weights, and run."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from xception.errors import InputError, count_of
from xception.export.agreement import (
    BFLOAT16_TOLERANCE,
    CHECKED,
    random_images,
    require_agreement,
    require_likeness,
)
from xception.export.cache import newest_entry, read_record, stored_or_built, weights_digest
from xception.export.calibration import Calibration
from xception.export.conversion import (
    ONNX_FILE,
    OPENVINO_FILE,
    converting,
    example_images,
    to_onnx,
    to_openvino,
    write_compiled,
    write_onnx,
    write_openvino,
)
from xception.export.engine import FLOAT32_TOLERANCE, REDUCED, Engine, EngineFacts, Run
from xception.export.extras import require_library, versions_of
from xception.export.folding import fold_batch_norms
from xception.export.processor import cpu_flags, multiplies_bfloat16
from xception.export.quantisation import METHOD, quantise_openvino, weight_bits
from xception.export.runtimes import (
    run_compiled,
    run_onnxruntime,
    run_openvino,
    run_torch,
    threads_of_torch,
)
from xception.weights.files import LoadedModel

FORMAT = 2  # goes up when this code converts differently
_LIBRARIES = {
    "compile": ["torch"],
    "onnxruntime": ["torch", "onnx", "onnxscript"],
    "openvino": ["torch", "openvino"],
    "openvino-bf16": ["torch", "openvino"],
    "openvino-int8": ["torch", "openvino", "nncf"],
}

GivenCalibration = Calibration | Callable[[], Calibration] | None


def build_engine(
    loaded: LoadedModel,
    engine: str,
    batch_size: int,
    threads: int,
    calibration: GivenCalibration = None,
) -> Engine:
    """Makes a model run by one engine; converts it, unless a stored conversion serves.

    Args:
        loaded: The model.
        engine: Any but "auto".
        batch_size: Images that one call will have.
        threads: How many.
        calibration: See `xception.export.load.load_engine`.

    Raises:
        InputError: A library that is not installed, int8 without calibration images, or bfloat16
            on a processor that does not multiply it.
        RunFailedError: The model can't be converted, or the result computes something else.
    """
    if engine == "torch":
        run = run_torch(fold_batch_norms(loaded.model), threads)
        return _engine(run, loaded, EngineFacts(engine, threads))
    if engine == "compile":
        entry = _stored(loaded, engine, _compile(loaded, batch_size, threads), batch_size, threads)
        run = run_compiled(entry, batch_size, threads)
    elif engine == "onnxruntime":
        require_library("onnxruntime")
        entry = _stored(loaded, engine, _convert_onnx(loaded))
        run = run_onnxruntime(entry / ONNX_FILE, threads)
    elif engine == "openvino":
        require_library("openvino")
        entry = _stored(loaded, engine, _convert_openvino(loaded))
        run = run_openvino(entry / OPENVINO_FILE, threads, batch_size)
    elif engine == "openvino-bf16":
        entry = _stored_bfloat16(loaded)
        run = run_openvino(entry / OPENVINO_FILE, threads, batch_size, "bf16")
    else:
        entry = _stored_int8(loaded, calibration)
        run = run_openvino(entry / OPENVINO_FILE, threads, batch_size)
    record = read_record(entry) or {}
    facts = EngineFacts(engine, threads, _note(record), record | {"entry": str(entry)})
    return _engine(run, loaded, facts)


def _engine(run: Run, loaded: LoadedModel, facts: EngineFacts) -> Engine:
    return Engine(
        run,
        loaded.preprocessing.size,
        facts,
        num_classes=int(loaded.model.num_classes),  # type: ignore[arg-type]
    )


def identity_of(loaded: LoadedModel, engine: str, **more: Any) -> dict[str, Any]:
    """All that decides a conversion."""
    return {
        "engine": engine,
        "format": FORMAT,
        "weights": weights_digest(loaded.model),
        "size": loaded.preprocessing.size,
        "versions": versions_of(*_LIBRARIES.get(engine, [])),
    } | more


def _stored(loaded: LoadedModel, engine: str, build: Callable[[Path], Run], *made_for: int) -> Path:
    identity = identity_of(loaded, engine, made_for=list(made_for))
    if engine == "compile":
        flags = " ".join(sorted(cpu_flags()))
        identity["processor"] = hashlib.sha256(flags.encode()).hexdigest()[:16]

    def build_and_check(folder: Path) -> Mapping[str, Any]:
        with converting(engine, "take another --engine"):
            run = build(folder)
        return {"difference": _require_agreement(loaded, run, engine)}

    return stored_or_built(loaded.path, identity, build_and_check)


def _require_agreement(
    loaded: LoadedModel, run: Run, engine: str, tolerance: float = FLOAT32_TOLERANCE
) -> float:
    images, remedy = [random_images(loaded.preprocessing.size)], "take another --engine"
    return require_agreement(loaded.model.eval(), run, images, engine, remedy, tolerance)


def _compile(loaded: LoadedModel, batch_size: int, threads: int) -> Callable[[Path], Run]:
    def build(folder: Path) -> Run:
        with threads_of_torch(threads):
            folded = fold_batch_norms(loaded.model)
            write_compiled(folded, loaded.preprocessing.size, batch_size, folder)
        return run_compiled(folder, batch_size, threads)

    return build


def _convert_onnx(loaded: LoadedModel) -> Callable[[Path], Run]:
    def build(folder: Path) -> Run:
        images = example_images(loaded.preprocessing.size)
        write_onnx(to_onnx(fold_batch_norms(loaded.model), images), folder / ONNX_FILE)
        return run_onnxruntime(folder / ONNX_FILE, torch.get_num_threads())

    return build


def _convert_openvino(loaded: LoadedModel) -> Callable[[Path], Run]:
    def build(folder: Path) -> Run:
        images = example_images(loaded.preprocessing.size)
        write_openvino(to_openvino(fold_batch_norms(loaded.model), images), folder / OPENVINO_FILE)
        return run_openvino(folder / OPENVINO_FILE, torch.get_num_threads(), CHECKED)

    return build


def _stored_bfloat16(loaded: LoadedModel) -> Path:
    """The float32 conversion, checked in float32 and then in bfloat16."""
    engine = "openvino-bf16"
    require_library("openvino")
    if not multiplies_bfloat16(cpu_flags()):
        raise InputError(
            f"{engine} needs a processor that multiplies bfloat16 (AVX-512 BF16, AMX or ARM's "
            "bf16), and this one does not; take --engine openvino"
        )

    def build(folder: Path) -> Mapping[str, Any]:
        with converting(engine, "take another --engine"):
            run = _convert_openvino(loaded)(folder)
        _require_agreement(loaded, run, engine)
        rounded = run_openvino(folder / OPENVINO_FILE, torch.get_num_threads(), CHECKED, "bf16")
        return {"difference": _require_agreement(loaded, rounded, engine, BFLOAT16_TOLERANCE)}

    return stored_or_built(loaded.path, identity_of(loaded, engine), build)


def _stored_int8(loaded: LoadedModel, calibration: GivenCalibration) -> Path:
    """The quantised model: of these calibration images, or the one used last."""
    for library in ("openvino", "nncf"):
        require_library(library)
    bits = weight_bits()
    preprocessing = loaded.preprocessing
    common = identity_of(
        loaded,
        "openvino-int8",
        bits=bits,
        method=METHOD,
        preprocessing=preprocessing.to_dict(),
    )
    if not isinstance(calibration, Calibration):
        stored = newest_entry(loaded.path, common)
        if stored is not None:
            return stored
        if calibration is None:
            raise InputError(
                "openvino-int8 learns the ranges of activations from images like those that will "
                "be classified: give --calibration, a folder or a recipe"
            )
        calibration = calibration()
    images = calibration

    def build(entry: Path) -> Mapping[str, Any]:
        with converting("openvino-int8", "take another --engine"):
            example = example_images(preprocessing.size)
            model = to_openvino(fold_batch_norms(loaded.model), example)
            quantised = quantise_openvino(model, images, preprocessing.normalize, bits)
            write_openvino(quantised, entry / OPENVINO_FILE)
            run = run_openvino(entry / OPENVINO_FILE, torch.get_num_threads(), batch_size=1)
        difference = require_likeness(
            loaded.model.eval(),
            run,
            images,
            preprocessing,
            "openvino-int8",
            "give other --calibration images or take another --engine",
        )
        return {
            "calibration_origin": images.origin,
            "calibration_images": len(images.crops),
            "calibration_difference": difference,
        }

    return stored_or_built(loaded.path, common | {"calibration": images.digest}, build)


def _note(record: Mapping[str, Any]) -> str:
    engine = record.get("identity", {}).get("engine")
    if engine not in REDUCED:
        return ""
    said = "bfloat16"
    if "calibration_origin" in record:
        images = count_of(record["calibration_images"], "image")
        said = f"8-bit, calibrated with {images} of {record['calibration_origin']}"
    if "accuracy" not in record:
        return (
            f"{said}; its loss of accuracy is not measured yet: "
            f"xception evaluate MODEL DATA --engine {engine}"
        )
    found = record["accuracy"]
    return (
        f"{said}; {found['figure']} on {count_of(found['images'], 'image')} of {found['data']}: "
        f"{found['found']:.4f}, float32 {found['float32']:.4f}"
    )
