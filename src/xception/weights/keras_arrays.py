"""Keras' arrays and torch's tensors: the layouts of each kind of layer, in both directions.

| layer | Keras | torch |
| --- | --- | --- |
| convolution, pointwise | (height, width, in, out) | (out, in, height, width) |
| depthwise | (height, width, channels, 1) | (channels, 1, height, width) |
| dense | (in, out) | (out, in) |
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xception.errors import InputError
from xception.weights.xception_layout import CLASSIFIER

Signature = Literal["conv", "conv+bias", "separable", "norm", "norm-without-gamma", "dense"]

Arrays = dict[str, tuple[str, list[np.ndarray]]]
"""By Keras 3's container ("conv2d_3"): Keras' name of the layer and its arrays."""

_NORM = ("weight", "bias", "running_mean", "running_var")


def signature(arrays: Sequence[np.ndarray]) -> Signature | None:
    """Recognises a kind of layer by the ranks and shapes of its arrays; None for any other.

    Example:
        >>> signature([np.zeros((3, 3, 8, 1)), np.zeros((1, 1, 8, 16))])
        'separable'
    """
    ranks = tuple(array.ndim for array in arrays)
    if ranks == (4,):
        return "conv"
    if ranks == (4, 1):
        return "conv+bias"
    if ranks == (4, 4):
        return "separable"
    if ranks == (2, 1):
        return "dense"
    if ranks in ((1,) * 4, (1,) * 3) and len({array.shape for array in arrays}) == 1:
        return "norm" if len(ranks) == 4 else "norm-without-gamma"
    return None


def conv_from_keras(kernel: np.ndarray) -> Tensor:
    """(height, width, in, out) → (out, in, height, width)."""
    return torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))


def depthwise_from_keras(kernel: np.ndarray) -> Tensor:
    """(height, width, channels, 1) → (channels, 1, height, width)."""
    return torch.from_numpy(np.ascontiguousarray(kernel.transpose(2, 3, 0, 1)))


def dense_from_keras(kernel: np.ndarray) -> Tensor:
    """(in, out) → (out, in)."""
    return torch.from_numpy(np.ascontiguousarray(kernel.T))


def norm_from_keras(arrays: Sequence[np.ndarray], prefix: str) -> dict[str, Tensor]:
    """BatchNorm's gamma (1 where Keras has none), beta, moving mean and variance.

    Args:
        arrays: gamma, beta, mean, variance; or the last three.
        prefix: Name of the layer in the state dict.
    """
    values = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    if len(values) == 3:
        values.insert(0, torch.ones_like(values[0]))
    return {f"{prefix}.{name}": value for name, value in zip(_NORM, values, strict=True)}


def separable_from_keras(arrays: Sequence[np.ndarray], prefix: str) -> dict[str, Tensor]:
    """A separable convolution's depthwise and pointwise kernels."""
    depthwise, pointwise = arrays
    return {
        f"{prefix}.depthwise.weight": depthwise_from_keras(depthwise),
        f"{prefix}.pointwise.weight": conv_from_keras(pointwise),
    }


def classifier_from_keras(arrays: Sequence[np.ndarray], prefix: str) -> dict[str, Tensor]:
    """A dense layer's weight and bias, a row for each class.

    One unit is Keras' way to tell two classes apart, with a sigmoid: its logit z becomes the two
    logits (0, z), whose softmax is (1 - sigmoid(z), sigmoid(z)).
    """
    kernel, bias = arrays
    if kernel.shape[1] == 1:
        kernel = np.concatenate([np.zeros_like(kernel), kernel], axis=1)
        bias = np.concatenate([np.zeros_like(bias), bias])
    return {
        f"{prefix}.weight": dense_from_keras(kernel),
        f"{prefix}.bias": torch.from_numpy(np.ascontiguousarray(bias)),
    }


def container_in_words(container: str, units: int) -> str:
    """What kind of file it is, and whether its one sigmoid unit became two classes.

    Args:
        container: The kind of file.
        units: Of its dense layer; 0 without one.
    """
    if units != 1:
        return container
    return f"{container}; its one sigmoid unit read as two classes, of which it is the second"


def conv_to_keras(weight: Tensor) -> np.ndarray:
    """(out, in, height, width) → (height, width, in, out)."""
    return np.ascontiguousarray(_numpy(weight).transpose(2, 3, 1, 0))


def depthwise_to_keras(weight: Tensor) -> np.ndarray:
    """(channels, 1, height, width) → (height, width, channels, 1)."""
    return np.ascontiguousarray(_numpy(weight).transpose(2, 3, 0, 1))


def dense_to_keras(weight: Tensor) -> np.ndarray:
    """(out, in) → (in, out)."""
    return np.ascontiguousarray(_numpy(weight).T)


def norm_to_keras(tensors: dict[str, Tensor], prefix: str) -> list[np.ndarray]:
    """gamma, beta, moving mean and variance of a BatchNorm."""
    return [_numpy(tensors[f"{prefix}.{name}"]) for name in _NORM]


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().to(torch.float32).numpy()


def check_counts(found: dict[str, int], expected: dict[str, int], origin: str, what: str) -> None:
    """Compares how many layers of each kind there are.

    Raises:
        InputError: With every kind whose number differs.
    """
    wrong = [
        f"{found.get(kind, 0)} {kind} layers instead of {number}"
        for kind, number in expected.items()
        if found.get(kind, 0) != number
    ]
    wrong += [
        f"{n} {kind} layers that it has not" for kind, n in found.items() if kind not in expected
    ]
    if wrong:
        raise InputError(f"{origin} is no {what}: it has {'; '.join(wrong)}")


def dense_layer(tensors: dict[str, Tensor]) -> Arrays:
    """The logistic regression, or nothing for a model without its top."""
    if f"{CLASSIFIER}.weight" not in tensors:
        return {}
    bias = tensors[f"{CLASSIFIER}.bias"].detach().cpu().float().numpy()
    return {"dense": ("predictions", [dense_to_keras(tensors[f"{CLASSIFIER}.weight"]), bias])}


def numbered_name(stem: str, index: int) -> str:
    """Keras 3's automatic name: the first one has no number.

    Example:
        >>> numbered_name("conv2d", 0), numbered_name("conv2d", 2)
        ('conv2d', 'conv2d_2')
    """
    return f"{stem}_{index}" if index else stem
