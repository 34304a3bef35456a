"""The flows of figure 5 through fused units: the same parameters and function as the plain module.

Works on a plain ``Xception`` by reading its submodules, so state dicts, optimizers, DDP and EMA see
the same module either way. Hooks on submodules do not run, as the submodules are not called.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from xception.kernels.depthwise_launch import Tap
from xception.kernels.pooling import pool_and_add
from xception.kernels.unit import Pending, convolution_norm, pointwise_norm, separable_unit


def fused_features(model: Any, images: Tensor) -> Tensor:
    """What ``model.forward_features`` returns, computed by fused units.

    On CPU tensors the operators run their plain references. Ask
    :func:`xception.kernels.support.why_not_fused` first whether the model is one that the units
    cover.

    Args:
        model: An ``xception.models.xception.Xception``.
        images: (N, in_channels, H, W) floating point in [-1, 1].

    Returns:
        The last feature map (N, 2048, H / 32, W / 32), channels_last, in the type of the
        convolutions.
    """
    entry, exit_ = model.entry_flow, model.exit_flow
    x = _stem(entry, images)
    for module in (entry.module1, entry.module2, entry.module3):
        x = _run(_downsampling, module, x, entry.checkpointing)
    for module in model.middle_flow:
        x = _run(_middle, module, x, model.middle_flow.checkpointing)
    x = _run(_downsampling, exit_.module1, x, exit_.checkpointing)
    x = _run(_first_separable, exit_.separable1, x, exit_.checkpointing)
    x = _run(_separable, exit_.separable2, x, exit_.checkpointing)
    return x.computed(relu=True)


def _stem(entry: Any, images: Tensor) -> Pending:
    """The two ordinary convolutions; the last ReLU is left to the first module."""
    first = convolution_norm(images, entry.conv1.conv, entry.conv1.norm).computed(relu=True)
    return convolution_norm(first, entry.conv2.conv, entry.conv2.norm)


def _downsampling(module: Any, x: Pending) -> Pending:
    """A ``DownsamplingModule``; the shortcut's stride is taken while x is read."""
    # In front of the first module the stem's ReLU is still pending, and the shortcut reads it too.
    tap: Tap = "strided" if module.leading_relu else "strided-relu"
    branch, strided = _unit(module.separable1, x, tap="none" if module.shortcut is None else tap)
    branch, _ = _unit(module.separable2, branch)
    assert branch.scale is not None
    assert branch.shift is not None
    shortcut = Pending(branch.z)
    if module.shortcut is not None:
        shortcut = pointwise_norm(strided, module.shortcut.conv.weight, module.shortcut.norm)
    height, width = branch.z.shape[2:]
    # TensorFlow's SAME pads an even size only at the end; torch's pool pads one on every side.
    same = hasattr(module.pool, "dilation") and not hasattr(module.pool, "padding")
    return Pending(
        pool_and_add(
            branch.z,
            branch.scale,
            branch.shift,
            shortcut=None if module.shortcut is None else shortcut.z,
            shortcut_scale=shortcut.scale,
            shortcut_shift=shortcut.shift,
            padding=(height % 2, width % 2) if same else (1, 1),
        )
    )


def _middle(module: Any, x: Pending) -> Pending:
    """A ``MiddleModule``; the sum of its residual connection is left to the next module."""
    computed = x.scale is None and x.residual is None
    tap: Tap = "sum" if module.residual and not computed else "none"
    branch, total = _unit(module.separable1, x, tap=tap)
    branch, _ = _unit(module.separable2, branch)
    branch, _ = _unit(module.separable3, branch)
    if not module.residual:
        return branch
    return branch._replace(residual=x.z if computed else total)


def _first_separable(separable: Any, x: Pending) -> Pending:
    """The separable convolution of the exit flow that no ReLU precedes."""
    return _unit(separable, x, relu=False)[0]


def _separable(separable: Any, x: Pending) -> Pending:
    return _unit(separable, x)[0]


def _unit(
    separable: Any, x: Pending, *, relu: bool = True, tap: Tap = "none"
) -> tuple[Pending, Tensor]:
    """A ``SeparableConvBN`` on a pending activation."""
    return separable_unit(
        x,
        separable.conv.depthwise.weight,
        separable.conv.pointwise.weight,
        separable.norm,
        relu=relu,
        tap=tap,
    )


def _run(
    function: Callable[[Any, Pending], Pending], module: Any, x: Pending, checkpointing: bool
) -> Pending:
    """Runs a module; with checkpointing keeps only its input and recomputes the rest."""
    if not checkpointing or not torch.is_grad_enabled():
        return function(module, x)
    # The running statistics are not moved by the recomputation: see batch_norm._recomputing.
    return checkpoint(function, module, x, use_reentrant=False)
