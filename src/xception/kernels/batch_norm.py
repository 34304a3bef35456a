"""BatchNorm as two vectors: scale and shift of every channel, from sums that a kernel took.

Plain PyTorch on vectors of C numbers, so that the reduction over replicas needs no kernel, and
``torch.compile`` fuses it all. In eager mode on a GPU it would be some twenty launches a layer:
there :mod:`xception.kernels.normalizer` does the same in one.
"""

import torch
from torch import Tensor, nn

from xception.kernels.dispatch import runs_kernel
from xception.kernels.normalizer import move_running, normalizer


def uses_batch_statistics(norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> bool:
    """Whether the layer normalises by the batch: in training, or where it keeps no statistics."""
    return norm.training or norm.running_mean is None or norm.running_var is None


def center_of(norm: nn.BatchNorm2d | nn.SyncBatchNorm, like: Tensor) -> Tensor | None:
    """What the sums are centred on: a copy of the running mean; None where none are wanted.

    Args:
        norm: The layer that follows.
        like: The activations; the result is float32 on their device (float64 for float64).
    """
    if not uses_batch_statistics(norm):
        return None
    wide = torch.promote_types(like.dtype, torch.float32)
    if norm.running_mean is None:
        return torch.zeros(norm.num_features, dtype=wide, device=like.device)
    # A copy: the running mean changes in place before the backward pass reads the centre.
    return norm.running_mean.detach().to(wide, copy=True)


def scale_and_shift(
    norm: nn.BatchNorm2d | nn.SyncBatchNorm,
    total: Tensor,
    squares: Tensor,
    center: Tensor | None,
    count: int,
) -> tuple[Tensor, Tensor]:
    """The layer as scale · z + shift; in training it updates the running statistics as torch does.

    Args:
        norm: The layer; a ``SyncBatchNorm`` in a process group adds up the sums of all replicas.
        total: (C,) sum of z - center over batch and pixels; empty without a center.
        squares: (C,) sum of its square; empty without a center.
        center: (C,) from :func:`center_of`.
        count: Values of one channel: N · H · W.

    Returns:
        scale and shift, (C,) float32 (float64 for float64).
    """
    if _takes_kernel(norm, total, count):
        return _by_kernel(norm, total, squares, center, count)
    if center is None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = norm.running_mean.to(total.dtype), norm.running_var.to(total.dtype)
    else:
        number: int | Tensor = count
        if isinstance(norm, nn.SyncBatchNorm) and _replicas(norm) > 1:
            total, squares, number = _summed_over_replicas(norm, total, squares, count)
        offset = total / number
        mean = center + offset
        variance = (squares / number - offset.square()).clamp_min(0)
        _update_running(norm, mean.detach(), variance.detach(), number)
    scale = torch.rsqrt(variance + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    return scale, shift


def _takes_kernel(norm: nn.BatchNorm2d | nn.SyncBatchNorm, total: Tensor, count: int) -> bool:
    """Whether the vectors are computed by one launch: not if a compiler or replicas want a say."""
    if torch.compiler.is_compiling() or not runs_kernel(total):
        return False
    replicas = _replicas(norm) if isinstance(norm, nn.SyncBatchNorm) else 1
    return replicas == 1 and total.dtype == torch.float32 and count > 1


def _by_kernel(
    norm: nn.BatchNorm2d | nn.SyncBatchNorm,
    total: Tensor,
    squares: Tensor,
    center: Tensor | None,
    count: int,
) -> tuple[Tensor, Tensor]:
    """The same as :func:`scale_and_shift` in one launch, and one for the running statistics."""
    statistics = center is not None
    scale, shift, mean, variance = normalizer(
        total,
        squares,
        total if center is None else center,
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        count,
        norm.eps,
        statistics,
    )
    if statistics:
        _update_running(norm, mean, variance, count)
    return scale, shift


@torch.no_grad()
def _update_running(
    norm: nn.BatchNorm2d | nn.SyncBatchNorm, mean: Tensor, variance: Tensor, count: int | Tensor
) -> None:
    """Moves the running statistics, once per step: not when a checkpoint recomputes the forward."""
    if not (norm.training and norm.track_running_stats) or _recomputing():
        return
    if norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    if norm.momentum is not None and isinstance(count, int) and _takes_kernel(norm, mean, count):
        running = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
        move_running(mean, variance, *running, count, norm.momentum)
        return
    norm.num_batches_tracked.add_(1)
    unbiased = variance * (count / (count - 1))
    if norm.momentum is None:  # torch's cumulative average
        weight = 1.0 / norm.num_batches_tracked.to(mean.dtype)
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), weight)
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), weight)
    else:
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)


def _recomputing() -> bool:
    """Whether autograd is running, so that this forward pass is an activation checkpoint's second.

    The compiler recomputes without the updates of buffers, and cannot trace the question.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._current_graph_task_id() != -1


def _replicas(norm: nn.SyncBatchNorm) -> int:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 1
    return torch.distributed.get_world_size(norm.process_group)


def _summed_over_replicas(
    norm: nn.SyncBatchNorm, total: Tensor, squares: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over all replicas; gradients flow back to all of them."""
    from torch.distributed.nn.functional import all_reduce

    counts = total.new_full((1,), float(count))
    packed = torch.cat([total, squares, counts])
    group = norm.process_group or torch.distributed.group.WORLD
    packed = all_reduce(packed, group=group)
    channels = len(total)
    return packed[:channels], packed[channels : 2 * channels], packed[2 * channels :].detach()
