"""The engines themselves: each function gives a call from images to logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xception.export.conversion import COMPILED_FILE, INPUT
from xception.export.engine import Run
from xception.export.extras import require_library
from xception.export.program_check import plain_program


def run_torch(folded: nn.Module, threads: int) -> Run:
    """PyTorch without a compiler, channels_last.

    Args:
        folded: A network without BatchNorms; it is changed to channels_last.
        threads: How many.
    """
    folded = folded.to(memory_format=torch.channels_last)

    def run(images: Tensor) -> Tensor:
        with threads_of_torch(threads):
            logits: Tensor = folded(images.contiguous(memory_format=torch.channels_last))
            return logits

    return run


def run_compiled(folder: Path, batch_size: int, threads: int) -> Run:
    """What ``write_compiled`` stored: code for one batch size; smaller batches are filled up."""
    compiled: Any = torch._inductor.aoti_load_package(str(folder / COMPILED_FILE))

    def run(images: Tensor) -> Tensor:
        with threads_of_torch(threads):
            return torch.cat([_filled(part) for part in images.split(batch_size)])

    def _filled(part: Tensor) -> Tensor:
        whole = F.pad(part, (0, 0, 0, 0, 0, 0, 0, batch_size - len(part)))
        logits: Tensor = compiled(whole.contiguous(memory_format=torch.channels_last))
        return logits[: len(part)]

    return run


def run_onnxruntime(path: Path, threads: int) -> Run:
    """ONNX Runtime on the CPU.

    Args:
        path: Of an ``.onnx`` file.
        threads: How many.

    Raises:
        InputError: It is not installed.
    """
    runtime = require_library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(
        session.run(None, {INPUT: images.contiguous().numpy()})[0]
    )


def run_openvino(path: Path, threads: int, batch_size: int, precision: str = "f32") -> Run:
    """OpenVINO on the CPU.

    For a batch whose size is known it lays out the maps better than for any: 39 instead of 47 ms
    for one 299x299 image. So it compiles for ``batch_size``, and for any other size once more, when
    the first batch of one comes.

    Args:
        path: Of an ``.xml`` file, its ``.bin`` beside it.
        threads: How many.
        batch_size: Images that most calls will have.
        precision: What a float32 model is computed in, "f32" or "bf16". OpenVINO's own default
            would be bf16 where the processor has it.

    Raises:
        InputError: It is not installed.
    """
    openvino = require_library("openvino")
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,  # one batch at a time, on all threads
        "ENABLE_CPU_PINNING": False,  # others use the cores too
    }
    core = openvino.Core()
    whole = core.read_model(str(path))
    whole.reshape([batch_size, *list(whole.input(0).partial_shape)[1:]])
    compiled = core.compile_model(whole, "CPU", settings)
    of_any_size: list[Any] = []

    def run(images: Tensor) -> Tensor:
        chosen = compiled
        if len(images) != batch_size:
            if not of_any_size:
                of_any_size.append(core.compile_model(str(path), "CPU", settings))
            chosen = of_any_size[0]
        return torch.from_numpy(chosen(images.contiguous().numpy())[0].copy())

    return run


def run_program(path: Path, threads: int) -> Run:
    """PyTorch, from a ``torch.export`` program (``.pt2``).

    Raises:
        InputError: See `plain_program`.
    """
    program = torch.export.load(plain_program(path)).module()

    def run(images: Tensor) -> Tensor:
        with threads_of_torch(threads):
            found: Tensor = program(images)
            return found

    return run


@contextmanager
def threads_of_torch(threads: int) -> Iterator[None]:
    """Sets PyTorch's number of threads as long as the block lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
