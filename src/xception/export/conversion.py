"""From a network of torch to what other programs run: ONNX, OpenVINO, torch.export, compiled code.

Each function takes the network and images that show the type and size of its input; the number of
images stays open in the result, except in compiled code.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xception.errors import InputError, RunFailedError
from xception.export.extras import require_library

INPUT, OUTPUT = "images", "logits"
ONNX_FILE, OPENVINO_FILE, COMPILED_FILE = "model.onnx", "model.xml", "model.pt2"
ONNX_OPSET = 18  # what the exporter is written for; ONNX Runtime reads it from 1.14 (2023) on


def example_images(size: int, in_channels: int = 3) -> Tensor:
    """Images of zeros, (2, in_channels, size, size); of one, exporters take the batch as fixed."""
    return torch.zeros(2, in_channels, size, size)


def to_onnx(network: nn.Module, images: Tensor, output: str = OUTPUT) -> Any:
    """Converts a network into an ``onnx.ModelProto`` with the input ``images``.

    The exporter notes beside each operation the lines of Python that it comes from, with the paths
    of this machine: they are left out.

    Args:
        network: In eval mode.
        images: See above.
        output: What to call the output.

    Raises:
        InputError: The extra ``onnx`` is not installed.
    """
    for library in ("onnx", "onnxscript"):
        require_library(library)
    with _quietly():
        program = torch.onnx.export(
            network.to(memory_format=torch.contiguous_format),
            (images,),
            dynamo=True,
            opset_version=ONNX_OPSET,
            input_names=[INPUT],
            output_names=[output],
            dynamic_shapes=_any_batch(),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    graph = model.graph
    noted = [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in (model, *noted):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def write_onnx(model: Any, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a ``ModelProto``, its weights inside, with entries for its ``metadata_props``."""
    onnx = require_library("onnx")
    onnx.helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)


def to_openvino(network: nn.Module, images: Tensor, output: str = OUTPUT) -> Any:
    """Converts a network into an ``openvino.Model`` with the input ``images``.

    Args:
        network: In eval mode.
        images: See above.
        output: What to call the output.

    Raises:
        InputError: The extra ``openvino`` is not installed.
    """
    openvino = require_library("openvino")
    with _quietly():
        model = openvino.convert_model(
            network.to(memory_format=torch.contiguous_format),
            example_input=images,
            input=[-1, *images.shape[1:]],
        )
    model.input(0).set_names({INPUT})
    model.output(0).set_names({output})
    return model


def write_openvino(
    model: Any, path: Path, metadata: Mapping[str, str] | None = None, *, half: bool = False
) -> None:
    """Writes ``path`` (.xml) and its ``.bin``.

    Args:
        model: An ``openvino.Model``.
        path: Ends in ``.xml``.
        metadata: Entries for the file's ``rt_info``, under ``xception``.
        half: Whether weights are stored in float16, which is OpenVINO's own default.
    """
    openvino = require_library("openvino")
    for name, value in (metadata or {}).items():
        model.set_rt_info(value, ["xception", name])
    openvino.save_model(model, path, compress_to_fp16=half)


def to_program(network: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """Traces a network into a ``torch.export`` program, which needs no code of this package.

    The lines of Python that each operation comes from, with the paths of this machine, are left
    out. The images stay: AOTInductor compiles for their shape.

    Args:
        network: In eval mode.
        images: See above.
    """
    with _quietly():
        program = torch.export.export(
            network.to(memory_format=torch.contiguous_format),
            (images,),
            dynamic_shapes=_any_batch(),
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


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


@contextlib.contextmanager
def converting(name: str, remedy: str) -> Iterator[None]:
    """Tells a converter's failure in one sentence.

    Args:
        name: What is converted to.
        remedy: What the user can do.

    Raises:
        RunFailedError: The block failed.
    """
    try:
        yield
    except (InputError, RunFailedError, OSError, MemoryError):
        raise
    except Exception as error:  # the converters raise whatever they like
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise RunFailedError(
            f"the model can't be converted for {name} ({first}); {remedy}"
        ) from error


def _any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)


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
