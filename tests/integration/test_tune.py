"""``xception tune``, from the command line, on the embedded digits."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from xception.cli.main import main

pytest.importorskip("optuna")
SHORT = ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--model.width", "0.125"]


def rows(output):
    with (output / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_two_recipes_get_equal_budgets_and_best_recipes_that_run(tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    recipes = ["digits-xception", "digits-inception-v3"]
    command = ["tune", *recipes, "--output", str(output), *SHORT]
    assert main([*command, "--trials", "2"]) == 0
    found = rows(output)
    assert [(row["recipe"], row["trial"]) for row in found] == [
        (recipe, trial) for recipe in recipes for trial in "01"
    ]
    assert {row["state"] for row in found} == {"finished"}
    assert {(row["validation_images"], row["steps"]) for row in found} == {("287", "1")}
    ratios = [float(r["learning_rate"]) / 0.1 for r in found]
    assert ratios[:2] == ratios[2:]  # the same factors
    for row in found:
        run = output / "trials" / row["recipe"] / f"trial-00{row['trial']}"
        summary = json.loads((run / "summary.json").read_text())
        assert summary["training"]["train_images"] + 287 == 1437  # no test image anywhere
        assert f"{summary['evaluation']['top1']:.6f}" == row["figure"]
        keys = yaml.safe_load((run / "recipe.yaml").read_text())
        assert keys["optimizer"]["weight_decay"] == float(row["weight_decay"])

    text = (output / "report.md").read_text()
    assert "digits-xception − digits-inception-v3" in text
    assert "2 trials" in text
    assert "not complete" not in text
    assert (output / "search.svg").exists()

    again = tmp_path / "again"
    best = output / "best-digits-inception-v3.yaml"
    assert main(["train", str(best), "--output", str(again)]) == 0
    best_row = max(found[2:], key=lambda row: (float(row["figure"]), -int(row["trial"])))
    optimizer = yaml.safe_load((again / "recipe.yaml").read_text())["optimizer"]
    assert optimizer["learning_rate"] == float(best_row["learning_rate"])
    summary = json.loads((again / "summary.json").read_text())
    assert summary["training"]["train_images"] == 1437
    assert summary["evaluation"]["images"] == 360

    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr("xception.recipes.run.run_recipe", lambda *_, **__: pytest.fail("again"))
        assert main([*command, "--trials", "2"]) == 0
    assert main([*command, "--trials", "1"]) == 2
    assert "give --trials 2 or more" in capsys.readouterr().err
    assert main([*command, "--trials", "2", "--seed", "1"]) == 2
    assert "holds a search with seed 0, not 1" in capsys.readouterr().err
    assert main([*command, "--trials", "2", "--data.shift", "1"]) == 2
    assert "data.shift is 3 there and 1 here" in capsys.readouterr().err


def test_several_labels_are_compared_by_map(tmp_path):
    output = tmp_path / "out"
    words = ["digit-scenes-xception", "--output", str(output), "--trials", "1", *SHORT]
    assert main(["tune", *words]) == 0
    (found,) = rows(output)
    assert 0 <= float(found["figure"]) <= 1
    assert found["validation_images"] == "400"
    assert "MAP@4 on validation images" in (output / "report.md").read_text()


@pytest.mark.parametrize("steps", ["1", "2"])  # diverged when evaluated, and while training
def test_a_diverged_trial_is_a_failed_one(tmp_path, capsys, steps):
    words = ["digits-xception", "--output", str(tmp_path / "out"), "--trials", "1", *SHORT]
    words += ["--optimizer.learning_rate", "1e30", "--schedule.warmup_epochs", "0"]
    words[words.index("--trainer.max_steps") + 1] = steps
    assert main(["tune", *words]) == 1
    (found,) = rows(tmp_path / "out")
    assert (found["state"], found["figure"]) == ("failed", "")
    assert ("not finite" if steps == "1" else "the loss") in found["reason"]
    assert "| 1 | 1 |" in (tmp_path / "out" / "report.md").read_text()
    assert not (tmp_path / "out" / "best-digits-xception.yaml").exists()
    capsys.readouterr()
    assert main(["tune", *words]) == 1  # and is not tried again
    assert "parameters" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which recipes?"),
        (["digits-xcepton"], "did you mean 'digits-xception'"),
        (["digits-xception", "digits-xception"], "two recipes are called digits-xception"),
        (["digits-xception", "--trials", "0"], "give 1 or more"),
        (["digits-xception", "--trials", "many"], "--trials: expected int, not 'many'"),
        (["digits-xception", "--span", "1"], "give a factor above 1"),
        (["digits-xception", "--sampler", "grid"], "expected one of sobol, tpe"),
        (["digits-xception", "--tuning-fraction", "1.5"], "must be between 0 and 1"),
        (["digits-xception", "--optimizer.weight_decay", "0"], "set one above 0"),
        (["digits-xception", "--trainer.max_epoch", "3"], "did you mean 'trainer.max_epochs'"),
        (["digits-xception", "digit-scenes-xception"], "the budgets are not equal"),
        (["imagenet-xception", "--data-root", "/nowhere"], "there is no such folder"),
        (["imagenet-xception"], "give data.root"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(tmp_path, capsys, words, message):
    output = tmp_path / "out"
    assert main(["tune", *words, "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not output.exists()


def test_a_directory_of_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("dear to me")
    assert main(["tune", "digits-xception", "--output", str(tmp_path)]) == 2
    assert "holds something else than a search" in capsys.readouterr().err


def started(output, trials):
    words = ["digits-xception", "--output", str(output), "--trials", str(trials)]
    words += [*SHORT, "--training.checkpoint_every_steps", "2", "--data.num_workers", "0"]
    words[words.index("--trainer.max_steps") + 1] = "20"
    code = "import sys; from xception.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, "tune", *words], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def wait_for(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_search_goes_on_and_ends_as_the_undisturbed_one(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert started(whole, 3).wait() == 0
    folder = killed / "trials" / "digits-xception"
    for inside in ("trial-000", "trial-001"):  # once in each of two trials
        process = started(killed, 3)
        checkpoints = folder / inside / "checkpoints"
        wait_for(lambda where=checkpoints: any(where.glob("*.ckpt")), process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert started(killed, 3).wait() == 0
    assert rows(killed) == rows(whole)
    assert len(rows(whole)) == 3


@pytest.mark.slow
def test_two_processes_share_one_search(tmp_path):
    output = tmp_path / "out"
    first = started(output, 4)
    wait_for(lambda: (output / "manifest.json").exists(), first)
    second = started(output, 4)
    assert (first.wait(), second.wait()) == (0, 0)
    found = rows(output)
    assert [row["trial"] for row in found] == list("0123")
    assert {row["state"] for row in found} == {"finished"}
    assert len({row["learning_rate"] for row in found}) == 4
