"""What a step costs by arithmetic: operations counted, traffic estimated, nothing computed."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class StepCost:
    """Work of one step.

    Attributes:
        flop: Floating-point operations of convolutions and matrix products, two to a multiply-add.
        bytes_moved: Estimate: every operator reads its inputs and writes its outputs once, as in
            eager mode. A compiler that joins operators moves less, a cache that is too small for a
            product's blocks more.
    """

    flop: int
    bytes_moved: int


class _Traffic(TorchDispatchMode):
    """Adds up the bytes of all operators' tensors, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes_moved = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in str(func) and "detach" not in str(func):
            tensors = tree_leaves((args, kwargs or {}, outputs))
            self.bytes_moved += sum(
                t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor)
            )
        return outputs


def count_cost(
    network: nn.Module,
    images: tuple[int, ...],
    dtype: torch.dtype,
    step: Callable[[nn.Module, Tensor], object],
) -> StepCost:
    """Counts a step on the meta device, in one dtype throughout.

    Args:
        network: Is copied, not touched.
        images: Shape (N, 3, H, W).
        dtype: Of images and weights.
        step: Runs one step of a network on images.

    Example:
        >>> layer = nn.Conv2d(3, 8, 1, bias=False)
        >>> cost = count_cost(layer, (2, 3, 4, 4), torch.float32, lambda network, x: network(x))
        >>> cost.flop == 2 * (2 * 4 * 4) * 3 * 8
        True
        >>> cost.bytes_moved == 4 * (2 * 4 * 4 * (3 + 8) + 3 * 8)
        True
    """
    shadow = copy.deepcopy(network).to("meta", dtype)
    pixels = torch.empty(images, dtype=dtype, device="meta")
    counter = FlopCounterMode(display=False)
    with counter, _Traffic() as traffic:
        step(shadow, pixels)
    return StepCost(counter.get_total_flops(), traffic.bytes_moved)
