"""The work that is timed: one training step, or the logits of one batch."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xception.benchmark.contenders import NUM_CLASSES, Contender, KerasNetwork, build_network
from xception.benchmark.cost import StepCost, count_cost
from xception.errors import RunFailedError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Work:
    """What every contender does.

    Attributes:
        kind: "train": forward, cross-entropy, backward, SGD with momentum and weight decay;
            "infer": the logits in evaluation mode.
        batch_size: Images.
        image_size: Their height and width, pixels.
        dtype: A name of ``DTYPES``. Training in half precision is autocast with float32 weights;
            inference casts the weights.
        threads: Of the CPU.
        device: "cpu" or "cuda".
    """

    kind: Literal["train", "infer"]
    batch_size: int
    image_size: int
    dtype: str
    threads: int
    device: str

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """(N, 3, H, W)."""
        return self.batch_size, 3, self.image_size, self.image_size

    def as_primitives(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Prepared:
    """A contender, ready to be timed.

    Attributes:
        step: Does the work once, and returns the loss before the update or the first logits.
        parameters: Trainable numbers.
        cost: Of one step; None where it could not be counted.
        outcome: What the first step returned, to hold the modes against one another.
    """

    step: Callable[[], Tensor]
    parameters: int
    cost: StepCost | None
    outcome: list[float]


def prepare(contender: Contender, work: Work) -> Prepared:
    """Builds a contender, runs it once and checks what it computes.

    Args:
        contender: Whom.
        work: What to do.

    Raises:
        RunFailedError: The outputs have the wrong shape or are not finite.
    """
    network = build_network(contender.model).to(work.device)
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    generator = torch.Generator().manual_seed(1)
    images = (torch.rand(work.image_shape, generator=generator) * 2 - 1).to(work.device)
    labels = torch.randint(NUM_CLASSES, (work.batch_size,), generator=generator).to(work.device)
    if "channels_last" in contender.words:
        network = network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    if work.kind == "train":
        cost, step = _training(network, images, labels, contender, work)
    else:
        cost, step = _inference(network, images, contender, work)
    outcome = step().float().flatten().tolist()
    expected = 1 if work.kind == "train" else NUM_CLASSES
    if len(outcome) != expected or not all(map(math.isfinite, outcome)):
        raise RunFailedError(
            f"{contender.label}: its outputs are not {expected} finite numbers, nothing is timed"
        )
    return Prepared(step, parameters, cost, outcome)


def _training(
    network: nn.Module, images: Tensor, labels: Tensor, contender: Contender, work: Work
) -> tuple[StepCost | None, Callable[[], Tensor]]:
    """A step returns the loss before its update."""
    network.train()
    dtype, device = DTYPES[work.dtype], images.device.type
    cost = _cost(
        network,
        work,
        lambda shadow, pixels: F.cross_entropy(shadow(pixels), labels.to("meta")).backward(),
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-5)
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
    forward = torch.compile(network) if "compile" in contender.words else network

    def step() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(forward(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return cost, step


def _inference(
    network: nn.Module, images: Tensor, contender: Contender, work: Work
) -> tuple[StepCost | None, Callable[[], Tensor]]:
    """A step returns the first image's logits."""
    network.eval()
    cost = _cost(network, work, lambda shadow, pixels: shadow(pixels))
    network.to(DTYPES[work.dtype])
    pixels = images.to(DTYPES[work.dtype])
    forward = torch.compile(network) if "compile" in contender.words else network

    def step() -> Tensor:
        with torch.no_grad():
            logits: Tensor = forward(pixels)
        return logits[0]

    return cost, step


def _cost(
    network: nn.Module, work: Work, run: Callable[[nn.Module, Tensor], object]
) -> StepCost | None:
    """None for Keras, whose weights do not move to the meta device."""
    if isinstance(network, KerasNetwork):
        return None
    return count_cost(network, work.image_shape, DTYPES[work.dtype], run)
