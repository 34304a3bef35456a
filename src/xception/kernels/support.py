"""Whether a model and its input can take the fused path, and the sentence that says why not."""

import functools
import logging
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xception.errors import InputError
from xception.kernels.dispatch import KERNEL_DTYPES, interpreting, triton_installed
from xception.kernels.unit import compute_dtype

# Inside an image the kernels count in 32 bits: up to 128 channels for every pixel of the image.
MAXIMUM_PIXELS = 2**31 // 128

_log = logging.getLogger(__name__)
_told: set[str] = set()


def takes_fused_path(model: nn.Module, images: Tensor, fused: bool | Literal["auto"]) -> bool:
    """Decides for one forward pass.

    Args:
        model: An ``Xception``.
        images: Its input.
        fused: True (an error where impossible), False, or "auto" (where possible; the reason for a
            fallback is logged once).

    Raises:
        InputError: ``fused`` is True and the fused path is impossible.
    """
    if fused is False:
        return False
    reason = why_not_fused(model, images)
    if reason is None:
        return True
    if fused is True:
        raise InputError(f"fused=True is impossible: {reason}; set fused='auto'")
    if not torch.compiler.is_compiling() and reason not in _told:
        _told.add(reason)
        _log.info("plain layers instead of fused kernels: %s", reason)
    return False


def why_not_fused(model: Any, images: Tensor) -> str | None:
    """The reason why this model cannot run fused on these images, or None.

    Args:
        model: An ``Xception``.
        images: Its input (N, C, H, W).
    """
    # torch.compiler.is_exporting() asks this flag; but compiled by torch 2.11 it always says yes.
    if torch.jit._trace.is_tracing() or torch.compiler._is_exporting_flag:
        return "the model is being exported"
    if not (images.is_cuda or interpreting()):
        return f"the images are on {images.device.type}, the kernels run on CUDA GPUs"
    if not triton_installed():
        return "the package triton is not installed"
    if images.is_cuda and not torch.compiler.is_compiling() and (reason := _unfit(images.device)):
        return reason
    if compute_dtype(images) not in KERNEL_DTYPES:
        return f"there are no kernels for {compute_dtype(images)}"
    if not images.is_contiguous(memory_format=torch.channels_last):
        return "the images are not in torch.channels_last memory format"
    if images.shape[2] * images.shape[3] >= MAXIMUM_PIXELS:
        return f"the images have {MAXIMUM_PIXELS:,} pixels or more"
    return unsupported_structure(model)


@functools.cache
def _unfit(device: torch.device) -> str | None:
    """Why the kernels are not for this GPU, or None."""
    if torch.version.hip:
        return "the kernels were made for NVIDIA's GPUs"
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < (8, 0):
        return f"the GPU has compute capability {major}.{minor}, and Triton needs 8.0"
    return None


def unsupported_structure(model: Any) -> str | None:
    """The first part of a model that the fused units do not cover, or None.

    Args:
        model: An ``Xception``.
    """
    for name, module in model.named_modules():
        reason = _unsupported(module, model.training)
        if reason:
            return f"{name or 'the model'} {reason}"
    return None


def _unsupported(module: nn.Module, training: bool) -> str | None:
    kind = type(module).__name__
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        # Sharding, profilers and feature extraction wait for calls that do not come.
        return "has hooks, which run only where the module is called"
    if kind == "SeparableConv2d":
        return _unsupported_separable(module)
    if kind == "StochasticDepth" and training and float(module.p) > 0:  # type: ignore[arg-type]
        return "has stochastic depth, which has no fused unit"
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        if not isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)):
            return f"is a {kind}, not BatchNorm2d or SyncBatchNorm"
    elif isinstance(module, nn.MaxPool2d):
        if (module.kernel_size, module.stride, module.padding) != (3, 2, 1):
            return "is not a 3x3 stride-2 pool"
    elif kind == "SameMaxPool2d" and module.stride != 2:
        return "does not pool with stride 2"
    return None


def _unsupported_separable(layer: Any) -> str | None:
    depthwise = layer.depthwise
    if type(depthwise) is not nn.Conv2d or type(layer.pointwise) is not nn.Conv2d:
        return "has replaced convolutions"
    if layer.order != "depthwise-first":
        return "is pointwise-first"
    if not isinstance(layer.activation, nn.Identity):
        return "has an activation between depthwise and pointwise convolution"
    if depthwise.groups != depthwise.in_channels:
        return "has segments of several channels"
    if depthwise.kernel_size != (3, 3) or depthwise.stride != (1, 1):
        return "is not a 3x3 convolution with stride 1"
    if depthwise.dilation != (1, 1):
        return "is dilated"
    return None
