"""Decides whether a fused operator runs as a Triton kernel or as its plain PyTorch reference.

Triton runs on CUDA GPUs. With ``TRITON_INTERPRET=1`` in the environment before triton is imported,
Triton interprets the same kernels on CPU tensors: slow, but enough to test every line of them.
"""

import functools
import importlib.util
import os
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

KERNEL_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_TRITON_INSTALLED = importlib.util.find_spec("triton") is not None  # asked once: compilers trace it


def triton_installed() -> bool:
    """Whether the package triton can be imported (it has no wheels for macOS)."""
    return _TRITON_INSTALLED


def interpreting() -> bool:
    """Whether Triton's interpreter was asked for, so that CPU tensors go through the kernels."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1" and triton_installed()


def runs_kernel(tensor: Tensor) -> bool:
    """Whether the operators run a Triton kernel on this tensor rather than the reference.

    Args:
        tensor: The activations that are given to the operator.
    """
    if tensor.dtype not in KERNEL_DTYPES:
        return False
    return tensor.is_cuda or interpreting()


def as_given(
    function: Callable[Concatenate[Tensor, _Arguments], _Result],
) -> Callable[Concatenate[Tensor, _Arguments], _Result]:
    """Runs a function in the types and on the device of what it is given, whatever is current.

    Autocast is not off inside an operator, and would turn its float32 sums into half precision.
    Triton launches on the current device, which need not be that of the tensors.
    """

    @functools.wraps(function)
    def wrapped(first: Tensor, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with torch.cuda.device_of(first):
            return _without_autocast(function, first, *args, **kwargs)

    return wrapped


def _without_autocast(function: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
    """Switches off what is on, mostly nothing: each switch takes as long as a small operator."""
    for kind in ("cpu", "cuda"):
        if torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                return _without_autocast(function, *args, **kwargs)
    return function(*args, **kwargs)


def as_channels_last(tensor: Tensor) -> Tensor:
    """The same tensor, (N, C, H, W) stored as N·H·W rows of C, which is what the kernels read."""
    return tensor.contiguous(memory_format=torch.channels_last)


def given_or_zeros(gradient: Tensor | None, like: Tensor) -> Tensor:
    """The gradient of an output; zeros for an output that nothing used.

    Operators ask autograd not to make those zeros itself: most belong to outputs that a backward
    kernel does not read, some of them as large as a map.
    """
    return torch.zeros_like(like) if gradient is None else gradient


def rows_of(tensor: Tensor) -> Tensor:
    """The (N·H·W, C) view of a channels_last (N, C, H, W) tensor.

    Args:
        tensor: (N, C, H, W), contiguous in ``torch.channels_last``.
    """
    return tensor.permute(0, 2, 3, 1).reshape(-1, tensor.shape[1])


def images_of(rows: Tensor, batch: int, height: int, width: int) -> Tensor:
    """The inverse of :func:`rows_of`: (N·H·W, C) rows as a channels_last (N, C, H, W) tensor."""
    return rows.view(batch, height, width, rows.shape[1]).permute(0, 3, 1, 2)
