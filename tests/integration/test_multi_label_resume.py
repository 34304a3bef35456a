"""A multi-label run that is validated and killed inside an epoch ends as an undisturbed one."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from xception.weights.reading import read_description

DRIVER = Path(__file__).with_name("kill_driver.py")
TIMES = ("images_per_second", "elapsed_seconds")


def run(moment, number, output, *more):
    """40 steps an epoch; MAP@4 every 4 steps, a checkpoint every 3, 15 steps in all."""
    keys = {
        "model.width": "0.125",
        "model.middle_flow_repeats": "0",
        "trainer.max_steps": "15",
        "trainer.val_check_interval": "4",
        "trainer.check_val_every_n_epoch": "null",
        "trainer.limit_val_batches": "2",
        "trainer.log_every_n_steps": "1",
        "training.checkpoint_every_steps": "3",
        "optimizer.name": "rmsprop",
        "optimizer.learning_rate": "0.001",
    }
    words = ["train", "digit-scenes-xception", "--output", str(output), *more]
    words += [f"--{key}={value}" for key, value in keys.items()]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(DRIVER), moment, str(number), *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )


def rows(output):
    with (output / "metrics.csv").open() as file:
        return [
            {name: cell for name, cell in row.items() if name not in TIMES}
            for row in csv.DictReader(file)
        ]


def test_killed_between_validations_of_an_epoch(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = run("never", 0, whole)
    assert done.returncode == 0, done.stderr
    assert run("batch", 14, cut).returncode == -9
    # Due after step 12, but from there Lightning would skip the validation: one step later instead.
    last = torch.load(cut / "checkpoints" / "last.ckpt", weights_only=True)
    previous = torch.load(cut / "checkpoints" / "previous.ckpt", weights_only=True)
    assert (last["global_step"], previous["global_step"]) == (13, 9)
    again = run("never", 0, cut, "--resume")
    assert again.returncode == 0, again.stderr
    assert rows(whole) == rows(cut)
    measured = [(int(row["step"]), row["validation_map"]) for row in rows(whole)]
    assert [step for step, figure in measured if figure] == [4, 8, 12]
    first, second = load_file(whole / "model.safetensors"), load_file(cut / "model.safetensors")
    assert first.keys() == second.keys()
    for place in (whole / "model.safetensors", cut / "checkpoints" / "last.ckpt"):
        assert read_description(place).multi_label  # so prediction gives sigmoids
    for name in first:
        assert torch.equal(first[name], second[name]), name
