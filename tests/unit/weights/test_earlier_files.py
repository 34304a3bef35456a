"""Weights of several labels from before files said so: their run's recipe tells it."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from xception.weights.files import open_model, read_description, save_model


@pytest.fixture
def run(make_model, tmp_path):
    """Of an earlier version: file and checkpoint say nothing of several labels."""
    model, path = make_model(), tmp_path / "model.safetensors"
    save_model(model, path, class_names=["a", "b", "c"], multi_label=True)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    told = json.loads(metadata["xception"])
    assert told.pop("multi_label") is True
    save_file(tensors, path, metadata={**metadata, "xception": json.dumps(told)})
    (tmp_path / "checkpoints").mkdir()
    state = {f"model.{name}": value for name, value in tensors.items()}
    torch.save({"xception": told, "state_dict": state}, tmp_path / "checkpoints" / "last.ckpt")
    return tmp_path


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoints/last.ckpt"])
@pytest.mark.parametrize(
    ("recipe", "several"),
    [
        ("loss:\n  name: sigmoid\n", True),
        ("loss:\n  name: softmax\n", False),
        ("loss: sigmoid\n", False),
        ("[", False),
        (None, False),
    ],
)
def test_an_earlier_file_has_it_from_its_runs_loss(run, name, recipe, several):
    if recipe is not None:
        (run / "recipe.yaml").write_text(recipe)
    assert read_description(run / name).multi_label is several
    assert open_model(run / name).description.multi_label is several


def test_another_file_in_the_runs_directory_is_not_told(run):
    (run / "recipe.yaml").write_text("loss: {name: sigmoid}")
    (run / "model.safetensors").rename(run / "other.safetensors")
    assert read_description(run / "other.safetensors").multi_label is False


def test_what_a_file_says_counts_more_than_the_recipe(run, make_model):
    (run / "recipe.yaml").write_text("loss: {name: sigmoid}")
    save_model(make_model(), run / "model.safetensors")
    assert read_description(run).multi_label is False
