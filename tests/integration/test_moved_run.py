"""A run whose directory, images or starting weights are elsewhere now, or gone."""

import json
import shutil

import pytest
import torch
from noise_pictures import write_pictures
from safetensors.torch import load_file

from xception.cli.main import main
from xception.models.registry import create_model
from xception.weights.files import save_model

COUNT = 10


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Starting weights, images, and a finished run of two epochs from the one on the other."""
    place = tmp_path_factory.mktemp("here")
    write_pictures(place / "images", COUNT)
    torch.manual_seed(0)
    size = {"width": 0.125, "middle_flow_repeats": 1, "stem_strides": (1, 1)}
    model = create_model("xception", num_classes=3, **size)
    save_model(model, place / "start.safetensors")
    keys = {
        "model.weights": str(place / "start.safetensors"),
        "model.dropout": "0.25",  # other than the file's: the run's own has to come back
        "model.freeze": "entry_flow",
        "data.root": str(place / "images"),
        "data.image_size": "32",
        "data.batch_size": "8",
        "trainer.max_epochs": "2",
        "trainer.log_every_n_steps": "1",
        "trainer.accelerator": "cpu",
        "trainer.logger": "false",
    }
    options = [word for key, value in keys.items() for word in (f"--{key}", value)]
    assert main(["train", "finetune", "--output", str(place / "runs" / "mine"), *options]) == 0
    return place


@pytest.fixture
def moved(trained, tmp_path, monkeypatch):
    """The run as killed in its second epoch, moved away with its images; the weights are gone."""
    place = tmp_path / "there"
    place.mkdir()
    shutil.copytree(trained / "runs" / "mine", place / "mine")
    shutil.copytree(trained / "images", place / "photographs")
    run = place / "mine"
    (run / "checkpoints" / "previous.ckpt").replace(run / "checkpoints" / "last.ckpt")
    for name in ("summary.json", "model.safetensors", "evaluation.npz", "report.html"):
        (run / name).unlink()
    for name in ("start.safetensors", "images"):
        (trained / name).rename(trained / f"{name}.gone")
    monkeypatch.chdir(place)
    yield place
    for name in ("start.safetensors", "images"):
        (trained / f"{name}.gone").rename(trained / name)


def test_a_moved_run_goes_on_by_its_directory_and_its_images_alone(trained, moved, capsys):
    assert main(["train", "mine", "--resume", "--data.root", "photographs"]) == 0
    assert not (moved / "runs").exists()  # it went on where it lies
    first, second = (
        load_file(p / "model.safetensors") for p in (trained / "runs/mine", moved / "mine")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    figures = [
        json.loads((p / "summary.json").read_text())["evaluation"]
        for p in (trained / "runs/mine", moved / "mine")
    ]
    assert figures[0] == figures[1]
    capsys.readouterr()
    # The new place of the images was noted: nothing has to be said again.
    assert main(["evaluate", "mine", "mine", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["loss"]) == (4, figures[0]["loss"])


def test_a_moved_run_goes_on_from_inside_its_directory(moved, monkeypatch):
    monkeypatch.chdir(moved / "mine")
    assert main(["train", ".", "--resume", "--data.root", "../photographs"]) == 0
    assert json.loads((moved / "mine" / "summary.json").read_text())["recipe"] == "mine"


def test_other_weights_are_refused_for_a_run_that_goes_on(moved, capsys):
    words = ["train", "mine", "--resume", "--data.root", "photographs"]
    assert main([*words, "--model.weights", "elsewhere.safetensors"]) == 2
    told = capsys.readouterr().err
    assert "model.weights is " in told
    assert "Leave these keys out, as `xception train mine --resume` does" in told


def test_a_shipped_recipe_without_its_weights_is_told_the_short_form(moved, capsys):
    words = ["train", "finetune", "--resume", "--output", "mine", "--data.image_size", "32"]
    assert main([*words, "--data.root", "photographs"]) == 2
    told = capsys.readouterr().err
    assert "start.safetensors' there and None here" in told
    assert "as `xception train mine --resume` does" in told


def test_a_moved_run_says_how_to_tell_where_its_images_lie(trained, moved, capsys):
    assert main(["train", "mine", "--resume"]) == 2
    assert capsys.readouterr().err == (
        f"xception: error: there is no {trained / 'images'}, where the images of mine lay; say "
        "with --data.root where they lie now\n"
    )


def test_a_run_that_has_saved_nothing_needs_its_weights_and_says_so(moved, capsys):
    shutil.rmtree(moved / "mine" / "checkpoints")
    assert main(["train", "mine", "--resume", "--data.root", "photographs"]) == 2
    assert capsys.readouterr().err.startswith("xception: error: model.weights: there is no file")


def test_a_run_is_begun_again_without_its_starting_weights_from_its_own(trained, moved, capsys):
    gone = trained / "start.safetensors"
    words = ["train", "mine", "--output", "again", "--data.root", "photographs"]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"xception: error: model.weights: there is no {gone}, which the run in mine began with: "
        "say where it lies now, or begin with what that run learned (--model.weights mine)\n"
    )
    assert not (moved / "again").exists()
    assert main([*words, "--model.weights", "mine", "--trainer.max_steps", "1"]) == 0
    assert "the head is kept: the same 2 classes\n" in capsys.readouterr().out
