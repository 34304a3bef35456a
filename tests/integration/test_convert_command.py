"""``xception convert`` from the command line: what it prints, writes, refuses; exit codes."""

import pytest
import torch

from xception.cli.main import main
from xception.data.preprocessing import Preprocessing
from xception.models.registry import create_model
from xception.weights.files import open_model, read_description, save_model
from xception.weights.pytorch_xception import xception_names


@pytest.fixture(scope="module")
def timm_file(tmp_path_factory):
    """A state dict with timm's names, from this project's random weights."""
    torch.manual_seed(0)
    state = create_model("xception", num_classes=3, numerics="timm").state_dict()
    named = {theirs: state[ours] for theirs, ours in xception_names().items()}
    named |= {f"fc.{e}": state[f"head.classifier.{e}"] for e in ("weight", "bias")}
    path = tmp_path_factory.mktemp("timm") / "xception.pth"
    torch.save(named, path)
    return path


@pytest.fixture
def small_file(tmp_path):
    torch.manual_seed(0)
    model = create_model("xception", num_classes=3, width=0.125, stem_strides=(1, 1))
    save_model(model, tmp_path / "small.safetensors", class_names=["a", "b", "c"])
    return tmp_path / "small.safetensors"


def run(*words):
    return main([str(word) for word in words])


def test_convert_prints_what_it_recognised_and_writes_it_all(timm_file, tmp_path, capsys):
    target = tmp_path / "mine.safetensors"
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\nhorse\r\n")
    names = tmp_path / "names.txt"
    assert run("convert", timm_file, target, "--class-names", names, "--image-size", 150) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for part in ("timm-xception", "architecture xception", "classes 3, cat … horse", "150 pixels"):
        assert part in printed
    told = read_description(target)
    assert told.class_names == ["cat", "dog", "horse"]
    assert told.numerics == "timm"
    assert told.preprocessing["size"] == 150
    assert told.preprocessing["interpolation"] == "bicubic"
    assert told.provenance["converted_from"] == "xception.pth"


def test_convert_takes_a_run_directory_and_raw_weights(small_file, tmp_path):
    model = open_model(small_file).model
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    raw = {f"model.{k}": v for k, v in model.state_dict().items()}
    averaged = {k: v * 0 if v.is_floating_point() else v for k, v in model.state_dict().items()}
    described = {
        "architecture": "xception",
        "arguments": model.arguments,
        "numerics": "keras",
        "class_names": None,
        "preprocessing": None,
    }
    content = {"xception": described, "state_dict": raw, "polyak": {"state_dict": averaged}}
    torch.save(content, tmp_path / "run" / "checkpoints" / "last.ckpt")
    target = tmp_path / "raw.safetensors"
    assert run("convert", tmp_path / "run", target, "--weights", "raw") == 0
    kept = open_model(target).model.state_dict()
    assert all(torch.equal(kept[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SMALL", "x.bin"], "has to end in .safetensors"),
        (["SMALL", "SMALL"], "exists: take another name, or allow it with --overwrite"),
        (["SMALL", "nowhere/x.safetensors"], "there is no directory"),
        (["SMALL", "x.weights.h5"], "Keras Applications can't express"),
        (["missing.pth", "x.safetensors"], "there is no file, directory or named source"),
        (["SMALL", "x.safetensors", "--kind", "keras"], "there is no kind 'keras'"),
        (["SMALL", "x.safetensors", "--kind", "timm-xception"], "is no legacy_xception of timm"),
        (["SMALL", "x.safetensors", "--class-names", "no.txt"], "give a text file"),
        (["SMALL", "x.safetensors", "--overwite"], "did you mean '--overwrite'"),
        (["SMALL"], "missing: TARGET"),
    ],
)
def test_mistakes_are_told_in_one_sentence_and_write_nothing(
    words, message, small_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    words = [str(small_file) if word == "SMALL" else word for word in words]
    assert run("convert", *words) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_too_few_class_names_are_refused(small_file, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("a\nb\n")
    target = tmp_path / "x.safetensors"
    assert run("convert", small_file, target, "--class-names", tmp_path / "names.txt") == 2
    assert "2 class names for 3 logits" in capsys.readouterr().err
    assert not target.exists()


def test_overwrite_replaces_the_target(small_file, tmp_path):
    target = tmp_path / "x.safetensors"
    target.write_bytes(b"old")
    assert run("convert", small_file, target, "--overwrite") == 0
    assert open_model(target).class_names == ["a", "b", "c"]


def test_convert_stores_the_preprocessing_that_it_is_given(small_file, tmp_path, capsys):
    target = tmp_path / "mine.safetensors"
    given = ("--evaluation-mode", "pad", "--image-size", 64, "--antialias", "false")
    assert run("convert", small_file, target, *given) == 0
    assert "64 pixels, pad without antialias" in " ".join(capsys.readouterr().out.split())
    loaded = open_model(target)
    assert loaded.preprocessing == Preprocessing(size=64, mode="pad", antialias=False)
    assert run("convert", small_file, target, "--overwrite", "--crop-fraction", 2) == 2
    assert "crop_fraction is 2.0" in capsys.readouterr().err
