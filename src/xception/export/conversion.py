"""From a network of torch to a file with constant weights: ONNX, OpenVINO, compiled code."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xception.errors import InputError
from xception.export.extras import require_library

INPUT, OUTPUT = "images", "logits"
ONNX_FILE, OPENVINO_FILE, COMPILED_FILE = "model.onnx", "model.xml", "model.pt2"


def write_onnx(folded: nn.Module, size: int, folder: Path) -> None:
    """Writes ``model.onnx``: input ``images`` (N, 3, size, size), output ``logits`` (N, C).

    Args:
        folded: A network without BatchNorms, see ``fold_batch_norms``.
        size: Height and width of the images, pixels.
        folder: Where to; it exists.

    Raises:
        InputError: The extra ``onnx`` is not installed.
    """
    for library in ("onnx", "onnxscript"):
        require_library(library)
    with _quietly():
        torch.onnx.export(
            folded.to(memory_format=torch.contiguous_format),
            (_example(size),),
            folder / ONNX_FILE,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )


def to_openvino(folded: nn.Module, size: int) -> Any:
    """Converts a network into an ``openvino.Model`` of any batch.

    Args:
        folded: A network without BatchNorms.
        size: Height and width of the images, pixels.

    Raises:
        InputError: The extra ``openvino`` is not installed.
    """
    openvino = require_library("openvino")
    with _quietly():
        return openvino.convert_model(
            folded.to(memory_format=torch.contiguous_format),
            example_input=_example(size),
            input=[-1, 3, size, size],
        )


def write_openvino(model: Any, folder: Path) -> None:
    """Writes ``model.xml`` and ``model.bin``; weights stay float32, where OpenVINO would halve."""
    openvino = require_library("openvino")
    openvino.save_model(model, folder / OPENVINO_FILE, compress_to_fp16=False)


def write_compiled(folded: nn.Module, size: int, batch_size: int, folder: Path) -> None:
    """Compiles a network for one batch size and this processor, its weights constant.

    Inductor generates the code ahead of time. It is for the number of threads that torch has now.

    Args:
        folded: A network without BatchNorms.
        size: Height and width of the images, pixels.
        batch_size: Images in a batch.
        folder: Where ``model.pt2`` is written; it exists.

    Raises:
        InputError: There is no C++ compiler.
    """
    from torch._inductor.exc import InvalidCxxCompiler

    images = torch.zeros(batch_size, 3, size, size).contiguous(memory_format=torch.channels_last)
    with _quietly():
        exported = torch.export.export(folded.to(memory_format=torch.channels_last), (images,))
        try:
            torch._inductor.aoti_compile_and_package(
                exported,
                package_path=str(folder / COMPILED_FILE),
                inductor_configs={"freezing": True},
            )
        except InvalidCxxCompiler:
            raise InputError(
                "the engine compile needs a C++ compiler (g++ or clang++); install one, "
                "or take another --engine"
            ) from None


def _example(size: int) -> torch.Tensor:
    # Two images: the exporter takes a batch of one for a constant.
    return torch.zeros(2, 3, size, size)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Tracing warns of checks of the shape; exporting prints its progress."""
    loggers = [logging.getLogger(f"torch.{name}") for name in ("onnx", "utils.cpp_extension")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            torch.no_grad(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
