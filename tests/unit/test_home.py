"""Paths with ``~`` in the places where the user writes paths, by command and in files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xception.cli.main import main
from xception.data.catalog import open_source
from xception.data.folders import open_folder
from xception.data.stock import default_root
from xception.errors import InputError
from xception.home import expand_home
from xception.models.registry import create_model
from xception.weights.files import load_model, save_model
from xception.weights.sources import cache_directory

NOBODY = "~nobody-of-this-name/there"
SENTENCE = (
    f"{NOBODY}: there is no user 'nobody-of-this-name' with a home directory here "
    "that ~nobody-of-this-name could mean; write the whole path\n"
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


def test_a_tilde_is_a_home_at_the_beginning_alone(home):
    assert expand_home("~/a/~b") == home / "a" / "~b"
    assert str(expand_home("a/~/b")) == "a/~/b"
    assert str(expand_home("./~b")) == "~b"


def test_a_file_that_only_looks_like_a_home_stays_one(home):
    Path("~draft.csv").touch()
    assert str(expand_home("~draft.csv")) == "~draft.csv"
    with pytest.raises(InputError, match=r"~drafts\.csv: there is no user 'drafts"):
        expand_home("~drafts.csv")


def test_a_process_without_a_home_is_told_so(monkeypatch):
    def none(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.expanduser", none)
    with pytest.raises(InputError, match=r"^~/a: there is no home directory here that ~ could"):
        expand_home("~/a")


@pytest.mark.parametrize(
    "words",
    [
        *(
            f"train digits-xception --data.name {name} --data.root"
            for name in ("folder", "multi-label", "imagenet", "open-images", "cifar10")
        ),
        "train digits-xception --data.name",
        "train finetune --data.name digits --model.weights",
        "tune digits-xception --data-root",
        "reproduce figure-5 --scale cifar10 --data-root",
        "verify",
    ],
)
def test_a_home_that_nobody_has_is_one_sentence(words, home, capsys):
    more = [NOBODY] if words == "verify" else []
    assert main([*words.split(), NOBODY, *more]) == 2
    key = "model.weights: " if "model.weights" in words else ""
    assert capsys.readouterr().err == f"xception: error: {key}{SENTENCE}"


def test_python_and_the_environment_are_told_the_same(home, monkeypatch):
    for use in (
        load_model,
        lambda place: open_folder(place, "train"),
        lambda place: open_source("open-images", "train", root=place),
    ):
        with pytest.raises(InputError) as told:
            use(NOBODY)
        assert f"{told.value}\n" == SENTENCE
    for variable, asked in (("XCEPTION_DATA", default_root), ("XCEPTION_CACHE", cache_directory)):
        monkeypatch.setenv(variable, NOBODY)
        with pytest.raises(InputError) as told:
            asked()
        assert f"{told.value}\n" == SENTENCE


def test_images_and_weights_in_a_home_are_found(home):
    for name in ("cat", "dog"):
        (home / "images" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(home / "images" / name / "1.png")
    for name, root in (("folder", "~/images"), ("~/images", None)):
        assert open_source(name, "train", root=root).class_names == ["cat", "dog"]
    model = create_model("xception", num_classes=2, width=0.125, middle_flow_repeats=1)
    save_model(model, home / "a.safetensors")
    loaded = load_model("~/a.safetensors").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


def test_an_option_with_an_equals_sign_has_a_home_too(home, capsys):
    assert main(["data", "verify", "~/a"]) == 2  # a word of its own is the shell's business
    assert capsys.readouterr().err.startswith("xception: error: there is no ~/a/")
    assert main(["evaluate", "nothing", "digits", "--output=~/a.txt"]) == 2
    assert f" {home}/a.txt" in capsys.readouterr().err
