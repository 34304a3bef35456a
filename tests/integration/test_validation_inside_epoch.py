"""Validation every so many steps, as the JFT recipes do: best weights, and the end of the time."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from xception.errors import InputError
from xception.recipes.build import build_data, build_model
from xception.recipes.load import load_recipe
from xception.recipes.run import run_recipe
from xception.training.interruption import RunInterrupted

DRIVER = Path(__file__).with_name("kill_driver.py")
KEYS = {
    "model.width": "0.0625",
    "model.middle_flow_repeats": "1",
    "data.batch_size": "100",
    "data.evaluation_batch_size": "360",
    "optimizer.learning_rate": "1.0",  # so rough that the figures go up and down
    "polyak.decay": "0",  # … and are those of the last weights
    "training.checkpoint_every_steps": "4",
    "training.batch_norm_momentum": "0.5",
    "trainer.max_steps": "20",  # 14 steps an epoch
    "trainer.val_check_interval": "3",
    "trainer.check_val_every_n_epoch": "null",
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": "false",
}


def words(**changes):
    keys = KEYS | {key.replace("__", "."): value for key, value in changes.items()}
    return [word for key, value in keys.items() for word in (f"--{key}", value)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "undisturbed"
    return run_recipe(load_recipe("digits-xception", words()), directory)


def validations(run):
    with run.metrics.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["validation_top1"]]
    return {int(row["step"]): float(row["validation_top1"]) for row in rows}


def best(run):
    return torch.load(run.checkpoints / "best.ckpt", weights_only=True)


def test_the_best_checkpoint_is_that_of_the_best_validation(run):
    figures = validations(run)
    assert list(figures) == [3, 6, 9, 12, 15, 18]
    step = max(figures, key=lambda step: (figures[step], -step))  # of equals, the first
    assert step == 18  # neither the end of an epoch nor that of the run
    assert best(run)["global_step"] == step


def test_the_best_checkpoint_holds_the_weights_that_were_validated(run):
    from xception.inference import evaluate

    recipe = load_recipe("digits-xception", words())
    data = build_data(recipe)
    model = build_model(recipe, data)
    model.load_state_dict(best(run)["polyak"]["state_dict"])
    found = evaluate(model, data.evaluation_source, data.preprocessing, batch_size=360)
    # The same images in the same batch; a figure is stored as float32.
    assert found.top1 == pytest.approx(max(validations(run).values()), abs=1e-6)


def test_a_kill_after_the_best_validation_changes_nothing(run, tmp_path):
    from xception.training.run_directory import RunDirectory

    output = tmp_path / "killed"
    after = best(run)["global_step"] + 1
    command = [sys.executable, str(DRIVER), "batch", str(after), "train", "digits-xception"]
    command += ["--output", str(output), *words()]
    killed = subprocess.run(command, capture_output=True, timeout=300)
    assert killed.returncode == -9, killed.stderr
    # in processes of their own: another number of threads would sum in another order
    undisturbed = tmp_path / "undisturbed"
    for where, more in ((output, ["--resume"]), (undisturbed, [])):
        program = "import sys; from xception.cli.main import main; sys.exit(main())"
        command = [sys.executable, "-c", program, "train", "digits-xception", *words()]
        subprocess.run([*command, "--output", str(where), *more], check=True, timeout=300)
    again, run = RunDirectory(output), RunDirectory(undisturbed)
    assert validations(again) == validations(run)
    for name, value in best(run)["state_dict"].items():
        assert torch.equal(best(RunDirectory(output))["state_dict"][name], value), name


def test_max_time_interrupts_and_the_run_goes_on(tmp_path):
    recipe = load_recipe(
        "digits-xception", words(trainer__max_steps="1000000", trainer__max_time="00:00:00:01")
    )
    with pytest.raises(RunInterrupted, match=r"trainer\.max_time") as first:
        run_recipe(recipe, tmp_path / "run")
    assert first.value.exit_code == 143
    assert first.value.step > 0
    with pytest.raises(RunInterrupted) as second:
        run_recipe(recipe, tmp_path / "run", resume=True)
    assert second.value.step > first.value.step


def test_a_time_of_another_form_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"trainer\.max_time is 5 minutes; write it as DD:HH"):
        run_recipe(
            load_recipe("digits-xception", words(trainer__max_time="5 minutes")), tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()
