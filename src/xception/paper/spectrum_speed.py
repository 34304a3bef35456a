"""Training speed along the spectrum: its networks without activation, timed in turns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xception.paper.scale import Scale
from xception.paper.speed import ROUNDS, time_in_turns
from xception.paper.variants import continuum_points, point, variants
from xception.recipes.load import load_recipe


def measure_spectrum_speed(
    scale: Scale, extra: Sequence[str] = (), *, rounds: int = ROUNDS, device: str | None = None
) -> dict[str, Any]:
    """Measures training steps of the scale's points between regular and depthwise convolution.

    Args:
        scale: Whose networks are taken.
        extra: Overrides of every recipe.
        rounds: Measured steps of each network.
        device: "cpu" or "cuda"; the GPU if there is one by default.

    Returns:
        What ``spectrum-speed.json`` holds: images per second and parameters of each variant, and
        the conditions.
    """
    known = variants(scale)
    recipes = {}
    for segments in continuum_points(scale):
        variant = known[point(segments, "none")]
        words = [f"--{key}={value}" for key, value in variant.overrides.items()]
        recipes[variant.name] = load_recipe(variant.recipe, [*words, *extra])
    turns = time_in_turns(recipes, scale.num_classes, rounds=rounds, device=device)
    batch = turns.conditions["batch_size"]
    return {
        "images_per_second": {name: batch / seconds for name, seconds in turns.seconds.items()},
        "measured_parameters": turns.parameters,
        **turns.conditions,
    }


def spectrum_speed_path(output: Path) -> Path:
    """Where the measurement lies."""
    return output / "spectrum-speed.json"
