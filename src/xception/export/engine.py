"""What runs a network: one call from images to logits, whatever library does the work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from xception.errors import InputError, nearest

ENGINES = (
    "torch",
    "compile",
    "onnxruntime",
    "openvino",
    "openvino-bf16",
    "openvino-int8",
    "auto",
)
REDUCED = ("openvino-bf16", "openvino-int8")
"""Engines that round more than float32 does: their answers differ a little from the network's."""

FLOAT32_TOLERANCE = 1e-4
"""Largest difference between a float32 engine's logits and the network's, over the largest logit.

Other engines add in another order; through 40 layers that gives about 2e-6. A wrong padding or a
wrong BatchNorm constant gives 1e-2 and more."""

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class EngineFacts:
    """What is known of an engine.

    Attributes:
        name: Which one; never "auto", but what it chose.
        threads: How many threads it uses.
        note: One sentence for people: the choice of ``auto``, the calibration; or "".
        record: Facts stored with the conversion: differences, timings, accuracy.
    """

    name: str
    threads: int
    note: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)


class Engine(nn.Module):
    """A network on the CPU, in the place of the module that it was made from.

    Args:
        run: From (N, in_channels, S, S) float32 to (N, C) logits.
        size: S, pixels.
        facts: What is known of the engine.
        num_classes: C; 0 for a network that gives features.
        in_channels: Channels of the images.
    """

    def __init__(
        self, run: Run, size: int, facts: EngineFacts, *, num_classes: int, in_channels: int = 3
    ) -> None:
        super().__init__()
        self._run = run
        self.facts = facts
        self.size = size
        self.num_classes = num_classes
        self.in_channels = in_channels

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, 3, S, S) float32, as ``Preprocessing.normalize`` scales them, to (N, C) logits.

        Raises:
            InputError: The images have another size, or are not on the CPU.
        """
        expected = (self.in_channels, self.size, self.size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected or images.device.type != "cpu":
            raise InputError(
                f"the engine takes images (N, {', '.join(map(str, expected))}) on the CPU, "
                f"not {tuple(images.shape)} on {images.device}; load one for their size"
            )
        if not len(images):
            return torch.zeros(0, self.num_classes)
        with torch.inference_mode():
            return self._run(images.float())


def require_engine(name: str) -> None:
    """Checks an engine's name.

    Raises:
        InputError: There is no such engine.
    """
    if name not in ENGINES:
        raise InputError(
            f"there is no engine '{name}'{nearest(name, list(ENGINES))} "
            f"(known: {', '.join(ENGINES)})"
        )
