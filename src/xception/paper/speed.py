"""Table 3: parameters of both networks, and steps per second measured in turns in one process."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from xception.models.registry import create_model
from xception.paper.scale import Scale
from xception.recipes.load import load_recipe
from xception.training.environment import commit, hardware, versions

ROUNDS = 20
_WARM_UP = 3
_NOT_ARGUMENTS = ("name", "weights", "freeze", "num_classes")


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


def measure_speed(
    scale: Scale, extra: Sequence[str] = (), *, rounds: int = ROUNDS, device: str | None = None
) -> dict[str, Any]:
    """Measures training steps of the scale's two networks.

    A step is forward, backward and SGD on random pixels, without a data loader, at the recipe's
    batch. Each round does one step of either network, so that whatever else the machine does
    reaches both; the median round counts.

    Args:
        scale: Whose recipes are taken.
        extra: Overrides of both recipes.
        rounds: Measured steps of each network.
        device: "cpu" or "cuda"; the GPU if there is one by default.

    Returns:
        What ``speed.json`` holds: counts, steps per second of both, their ratio, the conditions.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    networks = (
        ("Inception V3", scale.inception_v3, scale.of_inception_v3),
        ("Xception", scale.xception, scale.of_xception),
    )
    step_of: dict[str, Callable[[], None]] = {}
    sizes: dict[str, int] = {}
    batch = image_size = 0
    for title, name, changes in networks:
        words = [f"--{key}={value}" for key, value in {**scale.shared, **changes}.items()]
        recipe = load_recipe(name, [*words, *extra])
        batch = recipe.keys["data"]["batch_size"]
        image_size = recipe.keys["data"]["image_size"] or 299
        keys = recipe.group("model")
        arguments = {key: value for key, value in keys.items() if key not in _NOT_ARGUMENTS}
        torch.manual_seed(0)
        model = create_model(keys["name"], num_classes=scale.num_classes, **arguments)
        sizes[title] = _count(model)
        model = model.to(where).to(memory_format=torch.channels_last)
        step_of[title] = _training_step(model, batch, image_size, scale.num_classes)
    seconds: dict[str, list[float]] = {title: [] for title in step_of}
    for round_ in range(_WARM_UP + rounds):
        for title, step in step_of.items():
            began = time.perf_counter()
            step()
            if where.type == "cuda":
                torch.cuda.synchronize()
            if round_ >= _WARM_UP:
                seconds[title].append(time.perf_counter() - began)
    speeds = {title: 1 / statistics.median(times) for title, times in seconds.items()}
    return {
        "parameters": count_parameters(),
        "measured_parameters": sizes,
        "steps_per_second": speeds,
        "ratio": speeds["Xception"] / speeds["Inception V3"],
        "batch_size": batch,
        "image_size": image_size,
        "rounds": rounds,
        "device": where.type,
        "hardware": hardware(),
        "versions": versions(),
        "commit": commit(),
    }


def write_speed(output: Path, measured: dict[str, Any]) -> Path:
    """Writes ``speed.json`` of a reproduction."""
    path = speed_path(output)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(measured, indent=2) + "\n")
    partial.replace(path)
    return path


def speed_path(output: Path) -> Path:
    """Where the measurement of table 3 lies."""
    return output / "speed.json"


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _training_step(model: nn.Module, batch: int, size: int, classes: int) -> Callable[[], None]:
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(batch, 3, size, size, generator=generator) * 2 - 1).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(classes, (batch,), generator=generator).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step
