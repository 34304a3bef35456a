"""Table 3: parameters of both networks, and steps per second measured in turns in one process.

The spectrum's networks are timed in the same way.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from xception.models.registry import create_model
from xception.paper.scale import Scale
from xception.recipes.load import Recipe, load_recipe
from xception.recipes.schema import network_arguments
from xception.training.environment import commit, hardware, versions

ROUNDS = 20
_WARM_UP = 3
_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def count_parameters() -> dict[str, int]:
    """Trainable parameters of the paper's two networks, with 1,000 classes."""
    counts = {}
    for title, name, arguments in (
        ("Inception V3", "inception_v3", {"variant": "paper"}),
        ("Xception", "xception", {}),
    ):
        with torch.device("meta"):
            counts[title] = _count(create_model(name, **arguments))
    return counts


@dataclass(frozen=True)
class Turns:
    """Networks timed in turns.

    Attributes:
        seconds: Median of a training step of each.
        parameters: Trainable ones of each.
        conditions: Batch, image size, rounds, device, precision, hardware, versions, commit.
    """

    seconds: dict[str, float]
    parameters: dict[str, int]
    conditions: dict[str, Any]


def time_in_turns(
    recipes: dict[str, Recipe], num_classes: int, *, rounds: int, device: str | None
) -> Turns:
    """Times training steps of several networks.

    A step is forward, backward and SGD on random pixels, without a data loader, at the recipe's
    batch and precision. Each round does one step of every network, so that whatever else the
    machine does reaches all of them; the median round counts.

    Args:
        recipes: By the network's name; all of one batch, image size and precision.
        num_classes: Of every network.
        rounds: Measured steps of each network.
        device: "cpu" or "cuda"; the GPU if there is one by default.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    step_of: dict[str, Callable[[], None]] = {}
    sizes: dict[str, int] = {}
    for title, recipe in recipes.items():
        batch = recipe.keys["data"]["batch_size"]
        image_size = recipe.keys["data"]["image_size"] or 299
        precision = recipe.keys["trainer"]["precision"]
        keys = recipe.group("model")
        arguments = network_arguments(keys)
        torch.manual_seed(0)
        model = create_model(keys["name"], num_classes=num_classes, **arguments)
        sizes[title] = _count(model)
        model = model.to(where).to(memory_format=torch.channels_last)
        step_of[title] = _training_step(model, batch, image_size, num_classes, precision)
    seconds: dict[str, list[float]] = {title: [] for title in step_of}
    for round_ in range(_WARM_UP + rounds):
        for title, step in step_of.items():
            began = time.perf_counter()
            step()
            if where.type == "cuda":
                torch.cuda.synchronize()
            if round_ >= _WARM_UP:
                seconds[title].append(time.perf_counter() - began)
    conditions = {
        "batch_size": batch,
        "image_size": image_size,
        "rounds": rounds,
        "device": where.type,
        "precision": precision if precision in _AUTOCAST else "float32",
        "hardware": hardware(),
        "versions": versions(),
        "commit": commit(),
    }
    medians = {title: statistics.median(times) for title, times in seconds.items()}
    return Turns(medians, sizes, conditions)


def measure_speed(
    scale: Scale, extra: Sequence[str] = (), *, rounds: int = ROUNDS, device: str | None = None
) -> dict[str, Any]:
    """Measures training steps of the scale's two networks, in turns.

    Args:
        scale: Whose recipes are taken.
        extra: Overrides of both recipes.
        rounds: Measured steps of each network.
        device: "cpu" or "cuda"; the GPU if there is one by default.

    Returns:
        What ``speed.json`` holds: counts, steps per second of both, their ratio, the conditions.
    """
    recipes = {}
    for title, name, changes in (
        ("Inception V3", scale.inception_v3, scale.of_inception_v3),
        ("Xception", scale.xception, scale.of_xception),
    ):
        words = [f"--{key}={value}" for key, value in {**scale.shared, **changes}.items()]
        recipes[title] = load_recipe(name, [*words, *extra])
    turns = time_in_turns(recipes, scale.num_classes, rounds=rounds, device=device)
    speeds = {title: 1 / seconds for title, seconds in turns.seconds.items()}
    return {
        "parameters": count_parameters(),
        "measured_parameters": turns.parameters,
        "steps_per_second": speeds,
        "ratio": speeds["Xception"] / speeds["Inception V3"],
        **turns.conditions,
    }


def write_speed(path: Path, measured: dict[str, Any]) -> Path:
    """Writes a measurement, such as ``speed.json``, of a reproduction."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(measured, indent=2) + "\n")
    partial.replace(path)
    return path


def speed_path(output: Path) -> Path:
    """Where the measurement of table 3 lies."""
    return output / "speed.json"


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _training_step(
    model: nn.Module, batch: int, size: int, classes: int, precision: str | None = None
) -> Callable[[], None]:
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(batch, 3, size, size, generator=generator) * 2 - 1).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(classes, (batch,), generator=generator).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    dtype = _AUTOCAST.get(precision or "")

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    return step
