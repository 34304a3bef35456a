"""Cells as their files look after a run, without the run."""

import json
from pathlib import Path

import pytest
import yaml

from xception.paper.manifest import write_manifest
from xception.training.metrics_file import COLUMNS

ACCURACIES = {
    "xception": [0.95, 0.96, 0.94, 0.95, 0.96, 0.95],
    "inception-v3": [0.90, 0.92, 0.89, 0.91, 0.91, 0.90],
    "no-residual": [0.97, 0.97, 0.95, 0.97, 0.975, 0.968],
}


@pytest.fixture
def write_cell():
    """Writes the directory of a finished cell with given accuracies (or MAP) after each epoch."""

    def write(
        output: Path, variant: str, seed: int, top1: list[float], metric: str = "top1", **changes
    ) -> Path:
        directory = output / "cells" / variant / f"seed-{seed}"
        directory.mkdir(parents=True)
        keys = {"data": {"name": "digits", "image_size": 32, "batch_size": 48}, "seed": seed}
        (directory / "recipe.yaml").write_text(yaml.safe_dump(keys))
        lines = [",".join(COLUMNS)]
        for epoch, value in enumerate(top1):
            step = 29 * (epoch + 1)
            shown = f"{value},1.0," if metric == "top1" else f",,{value}"
            lines.append(f"{epoch},{step},{step * 48},0.1,,0.5,{shown},,{epoch + 1.0}")
        (directory / "metrics.csv").write_text("\n".join(lines) + "\n")
        summary = {
            "recipe": "digits-xception",
            "model": "xception",
            "parameters": 729914,
            "evaluation": {"images": 360}
            | (
                {"top1": top1[-1], "top5": 1.0, "loss": 0.1}
                if metric == "top1"
                else {"map": top1[-1], "k": 4, "reading": "image"}
            ),
            "training": {
                "epochs": len(top1),
                "steps": 29 * len(top1),
                "train_images": 1437,
                "seconds": 20.0,
                "images_per_second": 700.0,
            },
            "hardware": {"processor": "A processor", "threads": 2, "gpus": []},
            "versions": {"torch": "2.14.0", "xception": "0.1.0"},
            "commit": "0123456789ab",
        } | changes
        (directory / "summary.json").write_text(json.dumps(summary))
        return directory

    return write


@pytest.fixture
def directory(tmp_path, write_cell):
    """A reproduction with six seeds of three variants; all the rest was not run."""
    output = tmp_path / "reproduction"
    write_manifest(output, {"scale": "digits", "data": "digits", "overrides": []})
    for variant, values in ACCURACIES.items():
        for seed, value in enumerate(values):
            write_cell(output, variant, seed, [value / 2, value])
    return output
