"""Precision, accumulation, compilation, layout: keys that a run must survive, and resume with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from xception.training.metrics_file import read_rows

DRIVER = Path(__file__).with_name("kill_driver.py")
SMALL = {
    "model.width": "0.125",
    "model.middle_flow_repeats": "1",
    "data.batch_size": "240",
    "trainer.max_epochs": "2",
    "trainer.log_every_n_steps": "1",
    "trainer.accelerator": "cpu",
    "training.checkpoint_every_steps": "2",
}


def start(output, moment="never", number=0, resume=False, **keys):
    words = [f"--{key}={value}" for key, value in (SMALL | keys).items()]
    words = ["train", "digits-xception", "--output", str(output), *words]
    return subprocess.run(
        [sys.executable, str(DRIVER), moment, str(number), *words, *["--resume"] * resume],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def trained(output, **keys):
    done = start(output, **keys)
    assert done.returncode == 0, done.stderr
    checkpoint = torch.load(output / "checkpoints" / "last.ckpt", weights_only=True)
    steps = json.loads((output / "summary.json").read_text())["training"]["steps"]
    assert checkpoint["global_step"] == checkpoint["polyak"]["updates"] == steps
    return load_file(output / "model.safetensors")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("plain") / "run")


def largest_difference(one, other):
    assert one.keys() == other.keys()
    return max(float((one[n].double() - other[n].double()).abs().max()) for n in one)


def test_layout_changes_nothing_but_rounding(tmp_path):
    """After two small steps; later, rounding alone drives two float32 runs apart.

    The tolerance: float32 gradients of so deep a network differ by a few per cent, times the rate.
    """
    keys = {"trainer.max_steps": "2", "optimizer.learning_rate": "1e-3"}
    runs = [
        trained(tmp_path / layout, **keys, **{"training.channels_last": layout})
        for layout in ("true", "false")
    ]
    assert 0 < largest_difference(*runs) < 5e-4


def test_bf16_trains_and_saves_float32(plain, tmp_path):
    halved = trained(tmp_path / "run", **{"trainer.precision": "bf16-mixed"})
    assert {tensor.dtype for tensor in halved.values()} <= {torch.float32, torch.int64}
    assert largest_difference(plain, halved) > 0


def test_recomputation_gives_the_same_weights(plain, tmp_path):
    # Dropout and BatchNorm's statistics must come out as if nothing had been computed twice.
    recomputed = trained(tmp_path / "run", **{"training.gradient_checkpointing": "true"})
    assert largest_difference(plain, recomputed) < 1e-6


def test_accumulation_counts_steps_not_batches_and_resumes_exactly(tmp_path):
    keys = {"trainer.accumulate_grad_batches": "2"}
    undisturbed = trained(tmp_path / "whole", **keys)
    rows = read_rows(tmp_path / "whole" / "metrics.csv")
    assert [row["step"] for row in rows if row["train_loss"]] == list(range(1, 11))
    # Killed at the 10th micro-batch: step 5 is half accumulated.
    assert start(tmp_path / "run", "batch", 10, **keys).returncode == -signal.SIGKILL
    done = start(tmp_path / "run", resume=True, **keys)
    assert done.returncode == 0, done.stderr
    resumed = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)


@pytest.mark.slow
def test_compiled_training_resumes_exactly_and_keeps_the_names(plain, tmp_path):
    keys = {"training.compile": "true"}
    undisturbed = trained(tmp_path / "whole", **keys)
    assert undisturbed.keys() == plain.keys()
    assert start(tmp_path / "run", "batch", 8, **keys).returncode == -signal.SIGKILL
    done = start(tmp_path / "run", resume=True, **keys)
    assert done.returncode == 0, done.stderr
    resumed = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)
