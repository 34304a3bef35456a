"""``xception reproduce`` and ``report``, from the command line."""

import json

import pytest
import torch
import yaml

from xception.cli.main import main

SHORT = ["--trainer.max_steps", "2", "--trainer.accelerator", "cpu", "--model.width", "0.125"]


def test_dry_run_prints_cells_and_time_and_writes_nothing(tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["reproduce", "--dry-run", "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "29 cells, 0 finished; about 12 min" in shown
    assert "not run" not in shown
    assert "cost" not in shown
    assert not output.exists()


def test_two_cells_are_trained_reported_and_then_skipped(tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    command = ["reproduce", "figure-9", "figure-1", "--output", str(output), *SHORT]
    assert main(command) == 0
    for variant, residual in (("xception", True), ("no-residual", False)):
        run = output / "cells" / variant / "seed-0"
        assert json.loads((run / "summary.json").read_text())["training"]["steps"] == 2
        assert yaml.safe_load((run / "recipe.yaml").read_text())["model"]["residual"] is residual
    assert (output / "report.html").stat().st_size > 100_000  # the pictures are inside
    text = (output / "report.md").read_text()
    assert "Every recipe was changed by: --model.width=0.125" in text
    assert "2 cells are finished" in text
    capsys.readouterr()

    monkeypatch.setattr("xception.recipes.run.run_recipe", lambda *_, **__: pytest.fail("again"))
    assert main(command) == 0
    assert "xception, seed 0: already finished" in capsys.readouterr().out
    (output / "report.html").unlink()
    assert main(["report", str(output), "--output", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere" / "report.html").exists()
    assert main(["reproduce", "figure-9", "--output", str(output)]) == 2  # without the overrides
    assert "holds a reproduction with overrides" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["figur-9"], "did you mean 'figure-9'"),
        (["--scale", "jft"], "needs data.root"),
        (["--gpu-hour-price", "-1", "--dry-run", "--scale", "jft"], "price of a GPU hour is -1"),
        (["--scale", "cifar"], "expected one of digits, cifar10, imagenet, jft"),
        (["--seeds", "0"], "give 1 or more"),
        (["--seeds", "many"], "--seeds: expected int, not 'many'"),
        (["--seed", "3"], "did you mean '--seeds'"),
        (["--data-root", "/nowhere", "--scale", "cifar10"], "there is no such folder"),
        (["--data-root", "."], "leave --data-root out"),
        (["figure-9", "--trainer.max_stepz", "2"], "did you mean 'trainer.max_steps'"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(tmp_path, capsys, words, message):
    output = tmp_path / "out"
    assert main(["reproduce", *words, "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not output.exists()


def test_a_file_is_no_output_directory(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    drawn = str(tmp_path / "drawn")
    assert main(["reproduce", "figure-1", "--output", drawn]) == 0
    capsys.readouterr()
    for command in (["reproduce", "figure-1", "--output"], ["report", drawn, "--output"]):
        assert main([*command, str(tmp_path / "letter.txt")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("xception: error: ")
        assert error.count("\n") == 1
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_report_on_something_else_is_refused(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no reproduction" in capsys.readouterr().err


def test_an_image_folder_in_place_of_cifar10_is_named(tmp_path):
    from xception.paper.large_scales import IMAGENET
    from xception.paper.reproduce import data_name
    from xception.paper.small_scales import CIFAR10

    assert data_name(CIFAR10, None) == "CIFAR-10"
    assert data_name(CIFAR10, str(tmp_path)) == "CIFAR-10"  # a download folder
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "0.jpg").write_bytes(b"")
    assert data_name(CIFAR10, str(tmp_path)) == "CIFAR-10, JPEG"
    place = f"the images in the folder {tmp_path.name}"
    assert data_name(IMAGENET, str(tmp_path), ["--data.name=folder"]) == place
    other = ["--data.name=cifar100", "--seed=3"]
    assert data_name(CIFAR10, None, other) == "the data set cifar100 in the place of CIFAR-10"
    assert data_name(IMAGENET, str(tmp_path)) == "ImageNet (ILSVRC-2012)"


def test_the_plan_names_once_what_every_cell_changes(capsys):
    assert main(["reproduce", "figure-9", "--scale", "cifar10", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("polyak.decay") == shown.count("model.width=0.135") == 1
    assert "every cell: trainer.max_epochs=3 schedule.warmup_epochs=0.5" in shown
    assert shown.count("model.residual=false") == 6  # the row of each seed
    row = "absent        2 min  no-residual, seed 0: cifar10-xception model.residual=false\n"
    assert row in shown


def test_speed_of_both_networks_is_measured_in_turns(monkeypatch):
    from xception.paper import speed
    from xception.paper.small_scales import DIGITS

    order = []
    step_of = speed._training_step

    def watched(model, *sizes):
        step = step_of(model, *sizes)
        return lambda: (order.append(model.architecture), step())

    monkeypatch.setattr(speed, "_training_step", watched)
    words = ["--data.batch_size=2", "--model.width=0.125"]
    found = speed.measure_speed(DIGITS, words, rounds=2, device="cpu")
    assert order == ["inception_v3", "xception"] * 5  # three rounds to warm up, two measured
    assert found["parameters"] == {"Inception V3": 23_626_728, "Xception": 22_855_952}
    speeds = found["steps_per_second"]
    assert found["ratio"] == pytest.approx(speeds["Xception"] / speeds["Inception V3"])
    assert found["hardware"]["threads"] == torch.get_num_threads()
    assert found["precision"] == "float32"


def test_steps_are_timed_at_the_recipes_precision(monkeypatch):
    from xception.paper.small_scales import CIFAR10
    from xception.paper.spectrum_speed import measure_spectrum_speed

    seen = []

    def loss(logits, labels):
        seen.append(logits.dtype)
        return torch.nn.functional.nll_loss(logits.float(), labels)

    monkeypatch.setattr("torch.nn.functional.cross_entropy", loss)
    words = ["--data.batch_size=2", "--trainer.precision=bf16-mixed"]
    found = measure_spectrum_speed(CIFAR10, words, rounds=1, device="cpu")
    assert set(seen) == {torch.bfloat16}
    assert found["precision"] == "bf16-mixed"
    assert list(found["images_per_second"]) == [
        *("segments-1", "segments-2", "segments-4", "segments-8", "segments-16"),
        "xception",
    ]
    counts = list(found["measured_parameters"].values())
    assert max(counts) / min(counts) < 1.01
