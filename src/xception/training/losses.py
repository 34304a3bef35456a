"""Losses, by name in a recipe."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from xception.training.sigmoid_loss import sigmoid_cross_entropy

Loss = Callable[[Tensor, Any], Tensor]  # logits (N, C); labels (N,) or BatchTargets → scalar


def softmax_cross_entropy(*, label_smoothing: float = 0.0) -> Loss:
    """Cross-entropy of the softmax, averaged over the images: logistic regression on ImageNet.

    Args:
        label_smoothing: Share of the target that is spread evenly over all classes, 0 to 1.
            Deviation: the paper's list of regularisers (section 4.3) does not name it, hence 0.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"loss.label_smoothing must be in [0, 1), not {label_smoothing}")

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)

    return loss


LOSSES: dict[str, Callable[..., Loss]] = {
    "softmax": softmax_cross_entropy,
    "sigmoid": sigmoid_cross_entropy,
}
MULTI_LABEL_LOSSES = frozenset({"sigmoid"})
