"""The way to an engine: checks what is asked for, and lets "auto" choose."""

from pathlib import Path

import torch

from xception.errors import InputError
from xception.export.build import GivenCalibration, build_engine
from xception.export.choice import choose_engine
from xception.export.engine import Engine, require_engine
from xception.inference.classes import require_classifier
from xception.weights.files import LoadedModel, open_model


def load_engine(
    source: str | Path | LoadedModel,
    engine: str = "auto",
    *,
    batch_size: int = 1,
    threads: int | None = None,
    calibration: GivenCalibration = None,
) -> Engine:
    """Makes a model run by an engine on the CPU, in the place of its module.

    The first call converts the model and keeps the result in ``<weights file>.engines/``; a later
    one, for the same weights and versions, finds it there.

    Args:
        source: What ``open_model`` takes, or what it returned.
        engine: "torch" (BatchNorm folded, channels_last), "compile" (by torch's compiler, ahead of
            time), "onnxruntime", "openvino", "openvino-bf16", "openvino-int8", or "auto": the
            fastest float32 one on this machine, see ``choose_engine``.
        batch_size: Images that one call will have; "compile" is made for it and "auto" times it.
        threads: How many; by default as many as torch takes.
        calibration: For "openvino-int8": images like those that will be classified; or a function
            that reads them, called only if no quantised model is stored.

    Returns:
        A module that maps (N, 3, S, S) to logits (N, C); its ``facts`` say what is known of it.

    Raises:
        InputError: No such engine, a value out of range, a library that is not installed (the
            message names the extra), int8 without calibration images, or bfloat16 on a processor
            that does not multiply it.
        RunFailedError: The model can't be converted, or the result computes something else.
    """
    require_engine(engine)
    if threads is not None and threads < 1:
        raise InputError(f"--threads is {threads}; give 1 or more")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give 1 or more")
    loaded = source if isinstance(source, LoadedModel) else open_model(source)
    require_classifier(loaded.model, loaded.preprocessing)
    count = threads or torch.get_num_threads()
    if engine == "auto":
        return choose_engine(loaded, batch_size, count)
    return build_engine(loaded, engine, batch_size, count, calibration)
