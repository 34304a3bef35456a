"""The paper's optimizers (section 4.3) and the one that fine-tuning wants.

All take parameter groups; a group's ``lr_scale`` multiplies the learning rate of that group (1 when
absent), which is how layer-wise decay reaches every optimizer without its knowing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

Groups = list[dict[str, Any]]


def sgd(
    groups: Groups, *, learning_rate: float = 0.045, momentum: float = 0.9, nesterov: bool = False
) -> Optimizer:
    """Stochastic gradient descent with momentum: the paper's choice on ImageNet.

    Args:
        groups: Parameter groups with their weight decay.
        learning_rate: Initial learning rate; 0.045 in the paper.
        momentum: Momentum; 0.9 in the paper.
        nesterov: Whether Nesterov's variant is used. Deviation: the paper names plain momentum; on
            in the recipes for CIFAR-10 only.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"optimizer.momentum must be in [0, 1), not {momentum}")
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=nesterov)


def rmsprop(
    groups: Groups,
    *,
    learning_rate: float = 0.001,
    momentum: float = 0.9,
    decay: float = 0.9,
    eps: float = 1.0,
) -> Optimizer:
    """RMSprop as TensorFlow computes it: the paper's choice on JFT.

    TensorFlow keeps eps inside the square root, starts the mean square at 1 and puts the learning
    rate inside the momentum buffer; ``torch.optim.RMSprop`` differs in all three.

    Args:
        groups: Parameter groups with their weight decay.
        learning_rate: Initial learning rate; 0.001 in the paper.
        momentum: Momentum; 0.9 in the paper.
        decay: Decay of the mean square; not in the paper, 0.9 in TF-Slim's Inception recipe.
        eps: Added to the mean square; not in the paper, 1.0 in TF-Slim's Inception recipe.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"optimizer.momentum must be in [0, 1), not {momentum}")
    from xception.training.rmsprop import BlockwiseRMSprop

    return BlockwiseRMSprop(groups, lr=learning_rate, alpha=decay, eps=eps, momentum=momentum)


def adamw(
    groups: Groups,
    *,
    learning_rate: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> Optimizer:
    """AdamW, for fine-tuning.

    Deviation: not in the paper.

    Args:
        groups: Parameter groups with their weight decay, which is decoupled here.
        learning_rate: Initial learning rate.
        beta1: Decay of the gradient's mean.
        beta2: Decay of the gradient's mean square.
        eps: Added to the root of the mean square.
    """
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(beta1, beta2), eps=eps)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": sgd, "rmsprop": rmsprop, "adamw": adamw}


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Sets every group to ``learning_rate`` times the group's own ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)


def scaled_learning_rate(learning_rate: float, batch_size: int, reference: int | None) -> float:
    """The learning rate for a batch: proportional to it when a reference batch is given.

    Args:
        learning_rate: The recipe's learning rate.
        batch_size: Images per optimizer step, over all devices.
        reference: The batch that ``learning_rate`` is meant for; ``None`` leaves it as it is.

    Example:
        >>> scaled_learning_rate(0.045, 512, 256)
        0.09
        >>> scaled_learning_rate(0.045, 512, None)
        0.045
    """
    if reference is None:
        return learning_rate
    if reference < 1:
        raise ValueError(f"optimizer.reference_batch must be at least 1, not {reference}")
    return learning_rate * batch_size / reference
