"""BatchNorm in eval mode is an affine map of each channel: the convolution before it can do it.

For a convolution ``w * x + b`` and a BatchNorm with mean m, variance v, scale g and shift s, the
folded one has ``w' = w * g / sqrt(v + eps)`` and ``b' = (b - m) * g / sqrt(v + eps) + s``.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from xception.models.freezing import FrozenBatchNorm2d

Norm = nn.BatchNorm2d | FrozenBatchNorm2d


def fold_batch_norms(model: nn.Module, size: int | None = None) -> nn.Module:
    """Returns a copy for inference in which convolutions do the work of their BatchNorms.

    A BatchNorm is folded if its input is the output of a convolution that nothing else reads, and
    each of the two runs once in a forward pass. That is all of them in every network of this
    project but the paper variant of Inception V3, where a ReLU stands between the two: with zero
    padding, a BatchNorm can't be moved exactly into the convolution after it.

    Args:
        model: Takes (N, in_channels, H, W). It stays as it is.
        size: Height and width, pixels, of the image that is sent through to see what reads what;
            by default the model's ``minimum_input_size``.

    Returns:
        The copy in eval mode, without gradients; an ``nn.Identity`` stands where a BatchNorm was.
        The computation is in float64 and rounded once: float32 outputs change by about 1e-7 of
        their size.

    Example:
        >>> from xception.models.registry import create_model
        >>> folded = fold_batch_norms(create_model("xception", num_classes=2, width=0.125))
        >>> any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        False
    """
    folded = copy.deepcopy(model).eval().requires_grad_(False)
    if hasattr(folded, "fused"):
        folded.fused = False  # type: ignore[assignment] # that path reads the BatchNorms
    for conv, name, norm in _pairs(folded, size or int(getattr(folded, "minimum_input_size", 64))):
        _fold(conv, norm)
        parent, _, child = name.rpartition(".")
        setattr(folded.get_submodule(parent), child, nn.Identity())
    return folded


def _fold(conv: nn.Conv2d, norm: Norm) -> None:
    """Puts a BatchNorm into the convolution before it, in place."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    kind = conv.weight.dtype
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    bias = torch.zeros_like(scale) if conv.bias is None else conv.bias.double()
    shift = (bias - norm.running_mean.double()) * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    weight = conv.weight.double() * scale[:, None, None, None]
    conv.weight = nn.Parameter(weight.to(kind), requires_grad=False)
    conv.bias = nn.Parameter(shift.to(kind), requires_grad=False)


def _pairs(model: nn.Module, size: int) -> list[tuple[nn.Conv2d, str, Norm]]:
    """The convolutions with the BatchNorms, and their names, that can be folded into them."""
    convs = {id(m.weight): m for m in model.modules() if isinstance(m, nn.Conv2d)}
    norms = {
        id(m.running_mean): (name, m)
        for name, m in model.named_modules()
        if isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm2d))
    }
    first = next(model.parameters())
    channels = int(getattr(model, "in_channels", 3))
    image = torch.zeros(1, channels, size, size, dtype=first.dtype, device=first.device)
    with torch.no_grad(), _Recorder() as seen:
        model(image)
    found = []
    for output, weight in seen.convolutions:
        readers = seen.readers.get(id(output), [])
        if len(readers) != 1 or seen.weights.count(weight) != 1:
            continue
        place = norms.get(readers[0])
        if place and seen.statistics.count(readers[0]) == 1 and weight in convs:
            found.append((convs[weight], *place))
    return found


class _Recorder(TorchFunctionMode):
    """Notes, while a model runs, what reads the output of each convolution.

    Attributes:
        convolutions: The output of each (kept alive, so that its id stays its own), and the id of
            its weight.
        readers: By the id of such an output, for each operation that reads it: the id of the
            running mean if it is a BatchNorm, otherwise 0.
        weights: Id of the weight of every convolution that ran.
        statistics: Id of the running mean of every BatchNorm that ran.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions: list[tuple[Tensor, int]] = []
        self.readers: dict[int, list[int]] = {}
        self.weights: list[int] = []
        self.statistics: list[int] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operation and notes it."""
        result = func(*args, **(kwargs or {}))
        if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            return result  # the shape of a tensor, its device: reads no values
        running_mean = id(args[1]) if func is F.batch_norm else 0
        if running_mean:
            self.statistics.append(running_mean)
        known = {id(output) for output, _ in self.convolutions}
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and id(leaf) in known:
                self.readers.setdefault(id(leaf), []).append(running_mean)
        if func in (F.conv2d, torch.conv2d):
            self.convolutions.append((result, id(args[1])))
            self.weights.append(id(args[1]))
        return result
