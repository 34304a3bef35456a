"""A run that is killed, again and again, ends as one that was never disturbed: bit by bit."""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

DRIVER = Path(__file__).with_name("kill_driver.py")
TIMES = ("images_per_second", "elapsed_seconds")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of noisy colour, 20 images each to train and 6 to evaluate."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 6)):
        for place, name in enumerate(("red", "green", "blue")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 120, (40, 40, 3), dtype=np.uint8)
                pixels[..., place] += 100
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def words(images, output, *more):
    """60 images in batches of 8: 7 steps an epoch, 3 epochs; a checkpoint every 3 steps."""
    keys = {
        "model.width": "0.125",
        "model.middle_flow_repeats": "1",
        "model.dropout": "0.5",
        "data.name": "folder",
        "data.root": str(images),
        "data.image_size": "32",
        "data.batch_size": "8",
        "data.color_distortion": "true",
        "data.crop": "inception",
        "training.checkpoint_every_steps": "3",
        "trainer.max_epochs": "3",
        "trainer.log_every_n_steps": "2",
        "trainer.accelerator": "cpu",
    }
    return [
        "train",
        "digits-xception",
        "--output",
        str(output),
        *(word for key, value in keys.items() for word in (f"--{key}", value)),
        *more,
    ]


def start(moment, number, arguments, **keywords):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(DRIVER), moment, str(number), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        **keywords,
    )


@pytest.fixture(scope="module")
def undisturbed(images, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "undisturbed"
    done = start("never", 0, words(images, output))
    assert done.returncode == 0, done.stderr
    return output


def same_tensors(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def assert_same_run(one, other):
    """Weights, averaged weights, optimizer, metrics: equal to the last bit; times may differ."""
    same_tensors(load_file(one / "model.safetensors"), load_file(other / "model.safetensors"))
    first, second = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (one, other)
    )
    same_tensors(first["state_dict"], second["state_dict"])
    same_tensors(first["polyak"]["state_dict"], second["polyak"]["state_dict"])
    assert first["polyak"]["updates"] == second["polyak"]["updates"] == first["global_step"]
    momenta = [content["optimizer_states"][0]["state"] for content in (first, second)]
    for key, state in momenta[0].items():
        assert torch.equal(state["momentum_buffer"], momenta[1][key]["momentum_buffer"])
    rows = []
    for run in (one, other):
        with (run / "metrics.csv").open(newline="") as file:
            rows.append(
                [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
            )
    assert rows[0] == rows[1]
    summaries = [json.loads((run / "summary.json").read_text()) for run in (one, other)]
    assert summaries[0]["evaluation"] == summaries[1]["evaluation"]
    best = [
        torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"]
        for run in (one, other)
    ]
    assert best[0] == best[1]


def survive(images, output, kills, more=()):
    """Starts, is killed at each moment in turn, and runs to the end."""
    resume = []
    for moment, number in kills:
        done = start(moment, number, words(images, output, *resume, *more))
        assert done.returncode == -signal.SIGKILL, (moment, number, done.stderr)
        resume = ["--resume"]
    done = start("never", 0, words(images, output, *resume, *more))
    assert done.returncode == 0, done.stderr
    return done


def test_the_undisturbed_run_has_the_files_that_it_promises(undisturbed):
    with (undisturbed / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # rows of training after steps 2, 4, … 20, and three of validation, after steps 7, 14, 21
    assert [int(row["step"]) for row in rows if row["train_loss"]] == list(range(2, 21, 2))
    assert [int(row["step"]) for row in rows if row["validation_top1"]] == [7, 14, 21]
    assert all(int(row["samples"]) == 8 * int(row["step"]) for row in rows)
    for name in ("recipe.yaml", "report.html", "summary.json", "model.safetensors", "tensorboard"):
        assert (undisturbed / name).exists(), name


def test_killed_at_random_batches_it_ends_the_same(images, undisturbed, tmp_path):
    number = random.Random(1).randint
    kills = [("batch", number(2, 6)), ("batch", number(4, 7)), ("batch", number(2, 5))]
    survive(images, tmp_path / "run", kills)
    assert_same_run(undisturbed, tmp_path / "run")


def test_killed_while_saving_it_ends_the_same(images, undisturbed, tmp_path):
    kills = [("save", 3), ("fsync", 9), ("rename", 5), ("renamed", 4)]
    survive(images, tmp_path / "run", kills)
    assert_same_run(undisturbed, tmp_path / "run")


def test_killed_in_validation_and_at_the_end_it_ends_the_same(images, undisturbed, tmp_path):
    workers = ("--data.num_workers", "2")  # another number of loader processes changes nothing
    survive(images, tmp_path / "run", [("validation", 1), ("conclusion", 1)], workers)
    assert_same_run(undisturbed, tmp_path / "run")


@pytest.mark.parametrize(("moment", "code"), [("sigterm", 143), ("sigint", 130), ("sighup", 129)])
def test_a_signal_saves_and_says_how_to_go_on(images, undisturbed, tmp_path, moment, code):
    output = tmp_path / "run"
    stopped = start(moment, 5, words(images, output))
    assert stopped.returncode == code
    assert "Traceback" not in stopped.stderr
    advice = re.search(r"saved at step 5; go on with: xception (.*)", stopped.stderr)
    assert advice, stopped.stderr
    saved = torch.load(output / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 5
    done = start("never", 0, advice.group(1).split())  # the advice, word by word
    assert done.returncode == 0, done.stderr
    assert_same_run(undisturbed, output)


@pytest.mark.parametrize(
    ("moment", "told"), [("sigint-at-start", ""), ("sigint-at-end", " and saved at step 21")]
)
def test_ctrl_c_before_the_first_step_and_after_the_last_says_how_to_go_on(
    images, undisturbed, tmp_path, moment, told
):
    output = tmp_path / "run"
    stopped = start(moment, 1, words(images, output))
    assert stopped.returncode == 130
    advice = re.fullmatch(
        f"xception: interrupted by SIGINT{told}; go on with: xception (.*)",
        stopped.stderr.splitlines()[-1],
    )
    assert advice, stopped.stderr
    assert not (output / "model.safetensors").exists()
    done = start("never", 0, advice.group(1).split())
    assert done.returncode == 0, done.stderr
    assert_same_run(undisturbed, output)


def test_a_truncated_checkpoint_is_recognised_and_the_one_before_is_used(
    images, undisturbed, tmp_path
):
    output = tmp_path / "run"
    start("batch", 8, words(images, output))
    last = output / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    done = survive(images, output, [], ["--resume"])
    assert "xception: warning: " in done.stderr
    assert "last.ckpt is truncated" in done.stderr
    assert "going on from" in done.stderr
    assert "previous.ckpt" in done.stderr
    assert_same_run(undisturbed, output)


def test_nan_stops_the_run_and_names_step_rate_and_checkpoint(images, tmp_path):
    output = tmp_path / "run"
    done = start("nan", 6, words(images, output))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert re.search(
        r"loss became nan at step 5 \(learning rate [\d.e-]+\); the last good checkpoint is "
        r".*last\.ckpt",
        done.stderr,
    ), done.stderr


def test_a_full_device_ends_the_run_with_one_sentence(images, undisturbed, tmp_path):
    output = tmp_path / "run"
    done = start("no-space", 8, words(images, output))
    assert done.returncode == 3
    assert re.search(
        r"^xception: error: no space left on the device for .*; free some, then go on with "
        r"--resume$",
        done.stderr,
        re.MULTILINE,
    ), done.stderr
    assert "Traceback" not in done.stderr
    survive(images, output, [], ["--resume"])
    assert_same_run(undisturbed, output)


def test_resuming_a_finished_run_does_nothing(images, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
    done = start("never", 0, words(images, undisturbed, "--resume"))
    assert done.returncode == 0
    assert "is finished" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}


def test_a_contradicting_override_is_refused(images, undisturbed):
    arguments = words(images, undisturbed, "--resume", "--optimizer.learning_rate", "0.5")
    done = start("never", 0, arguments)
    assert done.returncode == 2
    assert "optimizer.learning_rate is 0.1 there and 0.5 here" in done.stderr


def test_resume_without_a_checkpoint_starts_afresh(images, undisturbed, tmp_path):
    output = tmp_path / "run"
    start("batch", 1, words(images, output))
    assert not (output / "checkpoints" / "last.ckpt").exists()
    survive(images, output, [], ["--resume"])
    assert_same_run(undisturbed, output)
