"""``xception verify`` from the command line: its report, its verdict, its exit codes."""

import numpy as np
import pytest
import torch
from PIL import Image

from xception.cli.main import main
from xception.data.preprocessing import Preprocessing
from xception.models.registry import create_model
from xception.weights.files import save_model


@pytest.fixture
def files(tmp_path):
    """A model; the same; one with another middle flow; one of another profile and input."""
    torch.manual_seed(0)
    settings = {"num_classes": 3, "width": 0.125, "stem_strides": (1, 1)}
    model = create_model("xception", **settings)
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("a", "same", "changed", "timm")}
    seen = Preprocessing(size=32)
    save_model(model, paths["a"], preprocessing=seen)
    save_model(model, paths["same"], preprocessing=seen)
    other = create_model("xception", numerics="timm", **settings)
    other.load_state_dict(model.state_dict())
    save_model(other, paths["timm"], preprocessing=Preprocessing(size=48))
    with torch.no_grad():
        model.middle_flow[3].separable1.conv.pointwise.weight.mul_(2)
    save_model(model, paths["changed"], preprocessing=seen)
    return paths


@pytest.fixture
def run(capsys):
    def command(*words):
        code = main(["verify", *(str(word) for word in words)])
        captured = capsys.readouterr()
        return code, " ".join(captured.out.split()), captured.err

    return command


def test_the_same_model_gives_zero(files, run):
    code, told, _ = run(files["a"], files["same"])
    assert code == 0
    assert "bitwise the same" in told
    assert "both compute the same" in told


def test_a_change_is_found_where_it_is(files, run):
    code, told, _ = run(files["a"], files["changed"], "--seed", 5)
    assert code == 1
    assert "1 of 236 in common differ: middle_flow.3.separable1.conv.pointwise.weight" in told
    assert "first layer that differs: middle_flow.3.separable1.conv.pointwise, largest" in told
    assert "compared on random images, seed 5" in told


def test_another_profile_and_preprocessing_are_told(files, run):
    code, told, _ = run(files["a"], files["timm"], "--tolerance", 1e-6)
    assert code == 1
    assert "differs: numerics is 'keras' in A and 'timm' in B" in told
    assert "differs: preprocessing.size is 32 in A and 48 in B" in told
    assert "bitwise the same" in told
    assert "first layer that differs: entry_flow.conv1.norm," in told


def test_images_of_a_folder_are_used(files, run, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    for name in ("1.png", "2.png", "3.png"):
        Image.fromarray(pixels).save(folder / name)
    code, told, _ = run(files["a"], files["same"], "--images", folder, "--limit", 2)
    assert code == 0
    assert "compared on 2 images" in told


def test_bad_images_are_told(files, run, tmp_path):
    code, _, told = run(files["a"], files["same"], "--images", tmp_path / "none")
    assert code == 2
    assert "there is no file or folder" in told
    (tmp_path / "bad.png").write_bytes(b"no image")
    code, _, told = run(files["a"], files["same"], "--images", tmp_path / "bad.png")
    assert code == 2
    assert "bad.png" in told


def test_a_missing_file_is_told(files, run):
    code, _, told = run(files["a"], "missing.safetensors")
    assert code == 2
    assert "missing.safetensors" in told
