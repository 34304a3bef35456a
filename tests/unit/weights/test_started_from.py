"""A fine-tuned model's file tells which file it started from."""

import hashlib
from types import SimpleNamespace

import pytest

from xception.recipes.conclude import started_from
from xception.recipes.load import load_recipe
from xception.recipes.run import run_recipe
from xception.weights.files import read_description, save_model


def recipe_from(source):
    return SimpleNamespace(keys={"model": {"weights": source}})


@pytest.fixture
def run_directory(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    return tmp_path


ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180's example


def test_files_and_run_directories_have_a_hash(run_directory):
    for source in (str(run_directory), str(run_directory / "model.safetensors")):
        told = started_from(recipe_from(source))
        assert told == {"started_from": {"weights": source, "sha256": ABC}}


def test_names_and_addresses_are_told_without_a_hash():
    for source in ("keras-imagenet", "https://example.org/a.pth"):
        assert started_from(recipe_from(source)) == {"started_from": {"weights": source}}


def test_a_source_that_is_gone_when_the_run_ends_costs_the_hash_alone(tmp_path):
    for source in (str(tmp_path), "~nobody-of-this-name/a.safetensors"):  # an emptied directory
        assert started_from(recipe_from(source)) == {"started_from": {"weights": source}}


def test_random_weights_start_from_nothing():
    assert started_from(recipe_from(None)) == {}


def test_a_fine_tuned_file_tells_its_source(make_model, tmp_path):
    source = tmp_path / "before.safetensors"
    save_model(make_model(middle_flow_repeats=1), source)
    overrides = {
        "data.name": "digits",
        "data.image_size": "32",
        "data.batch_size": "8",
        "data.num_workers": "0",
        "model.weights": str(source),
        "optimizer.learning_rate": "1e-4",
        "trainer.max_steps": "1",
        "trainer.accelerator": "cpu",
    }
    recipe = load_recipe("finetune", [f"--{key}={value}" for key, value in overrides.items()])
    run = run_recipe(recipe, tmp_path / "run")
    expected = hashlib.sha256(source.read_bytes()).hexdigest()
    told = read_description(run.weights).provenance["started_from"]
    assert told == {"weights": str(source), "sha256": expected}
