"""What a model consists of and what one image costs, layer by layer, in the order of execution.

Everything is found on the meta device: shapes are computed, no arithmetic is done and no memory
is taken, so that a network of any size answers at once.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from xception.errors import InputError
from xception.models.registry import create_model


@dataclass
class LayerCost:
    """One module, with all that is inside it.

    Attributes:
        name: Its dotted path in the model, as in the state dict; empty for the model itself.
        kind: Its class.
        output_shape: Of one image, without the batch: (C, H, W) or (C,). None where the output is
            no tensor.
        parameters: Trainable numbers.
        buffers: Other numbers (BatchNorm's moving statistics).
        multiply_adds: Of convolutions and dense layers, for one image. Normalisation, activation
            and pooling are not counted, as is usual.
        activations: Numbers in the outputs of the innermost layers, for one image: what training
            keeps for the backward pass, but for functions without a module (ReLU, addition).
        leaf: Whether it contains no other module.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    buffers: int
    multiply_adds: int = 0
    activations: int = 0
    leaf: bool = False

    @property
    def depth(self) -> int:
        """0 for the model, 1 for the flows."""
        return self.name.count(".") + 1 if self.name else 0


@dataclass
class ModelCost:
    """A model's cost.

    Attributes:
        architecture: The model's name.
        arguments: What it was built with.
        image_shape: (C, H, W) of the image.
        layers: Every module that ran, in the order in which they began; the first is the model.
    """

    architecture: str
    arguments: dict[str, Any]
    image_shape: tuple[int, int, int]
    layers: list[LayerCost] = field(default_factory=list)

    @property
    def total(self) -> LayerCost:
        """The whole model."""
        return self.layers[0]

    def at_depth(self, depth: int) -> list[LayerCost]:
        """The modules that many levels down, and the layers that end above.

        Args:
            depth: 1: the flows; 2: the modules of figure 5; 0: the innermost layers.

        Raises:
            InputError: A negative depth.
        """
        if depth < 0:
            raise InputError(f"depth is {depth}; give 0 for the innermost layers, or 1 and more")
        if depth == 0:
            return [layer for layer in self.layers if layer.leaf]
        return [
            layer
            for layer in self.layers
            if layer.depth == depth or (layer.leaf and layer.depth < depth)
        ]


def measure_cost(
    architecture: str, arguments: dict[str, Any], image_size: int | None = None
) -> ModelCost:
    """Finds shapes, parameters and multiply-adds of a model for one image.

    Args:
        architecture: A name that ``create_model`` knows.
        arguments: Its arguments.
        image_size: Height and width of the image, pixels; 299 by default, or the smallest that the
            model takes if that is more.

    Raises:
        InputError: An unknown model or argument, or too small an image.

    Example:
        >>> cost = measure_cost("xception", {})
        >>> cost.total.parameters, round(cost.total.multiply_adds / 1e9, 1)
        (22855952, 8.4)
    """
    with torch.device("meta"):
        model = create_model(architecture, **arguments)
    return measure_model_cost(model, image_size, architecture=architecture, arguments=arguments)


def measure_model_cost(
    model: nn.Module,
    image_size: int | None = None,
    *,
    architecture: str,
    arguments: dict[str, Any],
) -> ModelCost:
    """Finds the same of a live model, whatever was changed in it.

    Args:
        model: On any device; it stays as it is.
        image_size: As in ``measure_cost``.
        architecture: Its name, for the record.
        arguments: What it was built with, for the record.

    Raises:
        InputError: Too small an image.
    """
    model = copy.deepcopy(model).to("meta").eval()
    channels = int(getattr(model, "in_channels", 3))
    smallest = int(getattr(model, "minimum_input_size", 1))
    size = max(299, smallest) if image_size is None else image_size
    if size < smallest:
        raise InputError(
            f"images of {size} pixels are too small for this model; give {smallest} or more"
        )
    cost = ModelCost(architecture, arguments, (channels, size, size))
    handles = _watch(model, cost.layers)
    try:
        with torch.no_grad():
            model(torch.zeros(1, channels, size, size, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    return cost


def _watch(model: nn.Module, layers: list[LayerCost]) -> list[Any]:
    """Hooks that add a row for each module when it first runs."""
    rows: dict[str, LayerCost] = {}
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(_opening(name, rows, layers)))
        handles.append(module.register_forward_hook(_closing(name, rows)))
    return handles


def _opening(
    name: str, rows: dict[str, LayerCost], layers: list[LayerCost]
) -> Callable[[nn.Module, Any], None]:
    def note(module: nn.Module, inputs: Any) -> None:
        if name in rows:  # a module without state may serve several times
            return
        rows[name] = LayerCost(
            name=name,
            kind=type(module).__name__,
            output_shape=None,
            parameters=sum(p.numel() for p in module.parameters() if p.requires_grad),
            buffers=sum(b.numel() for b in module.buffers()),
            leaf=next(module.children(), None) is None,
        )
        layers.append(rows[name])

    return note


def _closing(name: str, rows: dict[str, LayerCost]) -> Callable[[nn.Module, Any, Any], None]:
    parts = name.split(".") if name else []
    above = [".".join(parts[:length]) for length in range(len(parts))]

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        own = rows[name]
        own.output_shape = tuple(output.shape[1:])
        if not own.leaf:
            return
        work = multiply_adds(module, own.output_shape)
        passed_on = any(output is given for given in inputs)  # dropout, outside training
        for place in [*above, name]:
            if place in rows:
                rows[place].multiply_adds += work
                rows[place].activations += 0 if passed_on else prod(own.output_shape)

    return note


def multiply_adds(layer: nn.Module, output_shape: Sequence[int]) -> int:
    """Multiply-adds of one layer for one image; 0 for layers that are no linear maps.

    Each output of a convolution sums kernel height × width × (input channels / groups) products,
    each output of a dense layer as many as it has inputs.

    Example:
        >>> multiply_adds(nn.Conv2d(3, 32, 3, stride=2), (32, 149, 149)) == 32 * 149**2 * 27
        True
    """
    if isinstance(layer, nn.Conv2d):
        return prod(output_shape) * layer.weight[0].numel()
    if isinstance(layer, nn.Linear):
        return prod(output_shape) * layer.in_features
    return 0
