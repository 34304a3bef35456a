"""Sigmoid cross-entropy of sparse labels: the loss of multi-label training (JFT, section 4.1).

The sum over all N x C entries of BCE(x, y) is Σ softplus(x), with the sign of x turned where the
image has the class. So no dense target is needed: one buffer of the logits' size holds the turned
logits first and the gradient afterwards. Sums are in float32 or wider; in bf16 only the gradient
is rounded, to the precision that it has anyway.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from xception.data.targets import BatchTargets, rows_of

_BLOCK = 2**20  # entries that are widened to float32 at a time


def sigmoid_cross_entropy(
    *, reduction: Literal["mean", "sum"] = "sum"
) -> Callable[[Tensor, BatchTargets], Tensor]:
    """Cross-entropy of one sigmoid per class, averaged over the images.

    Classes that were not annotated in an image count for nothing there. A label's weight multiplies
    its term.

    Args:
        reduction: Over an image's annotated classes: "sum" or "mean". The paper does not say. With
            RMSprop it matters, as eps = 1 is added to the mean square of the gradient: the mean
            over 17,000 classes divides the gradient by 17,000, eps then drowns its square, and the
            step is 17,000 times smaller. Hence "sum".
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"loss.reduction must be mean or sum, not {reduction}")

    def loss(logits: Tensor, targets: BatchTargets) -> Tensor:
        if targets.absent_offsets is None or targets.absent_ids is None:
            rows, weights = targets.rows, targets.weights
            total: Tensor = _DenseSum.apply(logits, rows, targets.class_ids, weights)
            scale = logits.numel() if reduction == "mean" else len(logits)
            return total / scale
        return _annotated(logits, targets, reduction)

    return loss


class _DenseSum(torch.autograd.Function):
    """Σ over all entries: (N, C) logits, and the row, class and weight of each label → scalar."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, rows: Tensor, class_ids: Tensor, weights: Tensor | None
    ) -> Tensor:
        turned = logits.detach().clone(memory_format=torch.contiguous_format)
        labelled = turned[rows, class_ids]
        turned[rows, class_ids] = -labelled
        wide = torch.promote_types(logits.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=logits.device)
        for block in turned.view(-1).split(_BLOCK):
            total += _softplus(block.to(wide)).sum()
        gradient = turned.sigmoid_()  # d softplus(x) = sigmoid(x), and the turned sign returns:
        factor = -1 if weights is None else -weights.to(gradient.dtype)
        gradient[rows, class_ids] *= factor
        if weights is not None:
            total += ((weights.to(wide) - 1) * _softplus(-labelled.to(wide))).sum()
        ctx.gradient = gradient
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None, None]:
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise RuntimeError("the gradient was taken already, and its memory reused")
        return gradient.mul_(scale), None, None, None


class _Gathered(torch.autograd.Function):
    """Entries of (N, C) logits, none of them twice, so that its gradient needs no sums."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, class_ids: Tensor) -> Tensor:
        ctx.save_for_backward(rows, class_ids)
        ctx.shape = logits.shape
        return logits.detach()[rows, class_ids]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None]:
        rows, class_ids = ctx.saved_tensors
        gradient = scale.new_zeros(ctx.shape)
        gradient[rows, class_ids] = scale
        return gradient, None, None


def _annotated(logits: Tensor, targets: BatchTargets, reduction: str) -> Tensor:
    """The loss over the annotated classes alone; only its gradient is dense."""
    assert targets.absent_offsets is not None
    assert targets.absent_ids is not None
    absent_rows = rows_of(targets.absent_offsets, len(targets.absent_ids))
    rows = torch.cat([targets.rows, absent_rows])
    class_ids = torch.cat([targets.class_ids, targets.absent_ids])
    gathered: Tensor = _Gathered.apply(logits, rows, class_ids)
    wide = gathered.to(torch.promote_types(logits.dtype, torch.float32))
    present, absent = wide.split([len(targets.class_ids), len(targets.absent_ids)])
    terms = _softplus(-present)
    if targets.weights is not None:
        terms = terms * targets.weights.to(wide.dtype)
    terms = torch.cat([terms, _softplus(absent)])
    if reduction == "mean":
        counts = targets.offsets.diff() + targets.absent_offsets.diff()
        terms = terms / counts[rows]
    return terms.sum() / len(logits)


def _softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) without overflow, exact far out on both sides."""
    return -functional.logsigmoid(-x)
