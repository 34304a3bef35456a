"""What a run's directory tells of weights that were written before their files said it."""

from pathlib import Path
from typing import Any

import yaml

_SEVERAL_LABELS = "sigmoid"
"""The loss of every run on images with several labels."""


def with_multi_label(told: Any, path: Path) -> Any:
    """A file's description with ``multi_label``, which files have since there are sigmoids.

    An earlier file of a run, where it still lies in the run's directory, has it by the loss in
    ``recipe.yaml``; anywhere else it stays unknown, and counts as false.

    Args:
        told: What the file says.
        path: The file: ``model.safetensors`` of a run, or one of its ``checkpoints``.
    """
    is_checkpoint = path.parent.name == "checkpoints"
    if not isinstance(told, dict) or "multi_label" in told:
        return told
    if not (is_checkpoint or path.name == "model.safetensors"):
        return told  # another file, which somebody has put there
    run = path.parent.parent if is_checkpoint else path.parent
    return {**told, "multi_label": _loss_of(run / "recipe.yaml") == _SEVERAL_LABELS}


def _loss_of(recipe: Path) -> str | None:
    try:
        keys = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        return str(keys["loss"]["name"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return None
