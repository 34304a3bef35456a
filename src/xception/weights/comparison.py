"""Comparing two models layer by layer: their tensors, and what flows through them on images.

Keys and values alone do not prove that two networks compute the same: pooling, eps and the order of
layers have no tensors. So both run on the same images, and the output of every layer is compared in
the order in which they run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Difference:
    """How far two tensors are apart.

    Attributes:
        name: Of the tensor or layer.
        largest: Largest absolute difference.
        relative: That over the largest absolute value of the first one.
        reason: Why there is no number: "shape 3x3 and 5x5"; else "".
    """

    name: str
    largest: float
    relative: float
    reason: str = ""


@dataclass(frozen=True)
class TensorComparison:
    """Two state dicts.

    Attributes:
        only_first: Names that only the first one has.
        only_second: Names that only the second one has.
        differences: Of the names that both have, in the first one's order.
    """

    only_first: list[str]
    only_second: list[str]
    differences: list[Difference]

    def differing(self) -> list[Difference]:
        """The tensors that are not bitwise the same."""
        return [d for d in self.differences if d.reason or d.largest > 0 or d.largest != d.largest]


@dataclass(frozen=True)
class ActivationComparison:
    """The outputs of all layers of two models on the same images.

    Attributes:
        layers: In the order in which the first model runs them.
        logits: The models' outputs.
        same_prediction: Share of images for which both say the same class.
    """

    layers: list[Difference]
    logits: Difference
    same_prediction: float

    def first_difference(self, tolerance: float = TOLERANCE) -> Difference | None:
        """The first layer whose relative difference exceeds ``tolerance``, or None."""
        for layer in [*self.layers, self.logits]:
            if layer.reason or layer.relative > tolerance:
                return layer
        return None

    def worst(self) -> Difference:
        """The layer with the largest relative difference."""
        return max([*self.layers, self.logits], key=lambda d: (bool(d.reason), d.relative))


@torch.no_grad()
def difference(name: str, first: Tensor, second: Tensor) -> Difference:
    """Measures how far two tensors are apart.

    Example:
        >>> difference("a", torch.tensor([1.0, -4.0]), torch.tensor([1.0, -3.0]))
        Difference(name='a', largest=1.0, relative=0.25, reason='')
    """
    if first.shape != second.shape:
        shapes = ["x".join(map(str, t.shape)) or "scalar" for t in (first, second)]
        return Difference(name, float("inf"), float("inf"), f"shape {shapes[0]} and {shapes[1]}")
    if first.numel() == 0:
        return Difference(name, 0.0, 0.0)
    if not first.dtype == second.dtype == torch.float32:
        first, second = first.double(), second.double()
    largest = 0.0 if torch.equal(first, second) else float((first - second).abs().max())
    scale = float(first.abs().max())
    relative = largest / scale if scale > 0 else (0.0 if largest == 0 else float("inf"))
    if relative != relative:  # NaN in the second one: it is larger than any tolerance
        relative = float("inf")
    return Difference(name, largest, relative)


def compare_tensors(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> TensorComparison:
    """Compares two state dicts; BatchNorm's batch counters are left out.

    Args:
        first: Names and tensors.
        second: The same, of the other model.
    """
    names = [[k for k in s if not k.endswith("num_batches_tracked")] for s in (first, second)]
    return TensorComparison(
        only_first=[name for name in names[0] if name not in second],
        only_second=[name for name in names[1] if name not in first],
        differences=[difference(n, first[n], second[n]) for n in names[0] if n in second],
    )


@torch.no_grad()
def compare_activations(
    first: nn.Module, second: nn.Module, images: Tensor
) -> ActivationComparison:
    """Runs two models on the same images and compares every layer's output.

    Args:
        first: A model whose layers bear the same names as the second one's, where they match.
        second: The other one. Both run in eval mode and get their mode back.
        images: (N, C, H, W) floating point, as both models take them.
    """
    outputs = []
    for model in (first, second):
        training = model.training
        outputs.append(_record(model.eval(), images))
        model.train(training)
    (layers_first, logits_first), (layers_second, logits_second) = outputs
    layers = [
        difference(name, value, layers_second[name])
        for name, value in layers_first.items()
        if name in layers_second
    ]
    agree = 1.0
    if logits_first.shape == logits_second.shape:
        agree = float((logits_first.argmax(1) == logits_second.argmax(1)).double().mean())
    return ActivationComparison(layers, difference("logits", logits_first, logits_second), agree)


def _record(model: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The output of every layer without layers of its own, in the order of the calls."""
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and name not in found:
                found[name] = output.detach().clone()

        return keep

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if not list(module.children()) and not isinstance(module, (nn.Identity, nn.Dropout))
    ]
    try:
        logits = model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found, logits.detach()
