"""Every command and every line of Python in the README runs as it stands there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from xception.cli.main import main

README = Path(__file__).parents[2] / "README.md"
NEEDS_MORE = {
    "make": "this is `make test`, and what `make demo` does is `xception demo`, run below",
    "train imagenet": "a run of days",
    "mine.yaml": "the name stands for the reader's own recipe",
    "xception_weights.h5": "the name stands for a file of the reader's",
    "other.safetensors": "the name stands for a file of the reader's",
}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def commands():
    for block in blocks("sh"):
        for line in block.splitlines():
            command = line.split("  #")[0].split("   #")[0].strip()
            if command and not any(mark in command for mark in NEEDS_MORE):
                yield command


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which the demo has run, and in which the reader has some images."""
    from torchvision.io import write_png

    from xception.data.digits import open_digits

    folder = tmp_path_factory.mktemp("readme")
    run(["demo"], folder)
    digits = open_digits("evaluation")
    for index in range(60):
        image, label = digits[index]
        if label < 3:
            path = folder / "my-images" / f"class-{label}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(image, str(path))
    return folder


def run(words, folder):
    done = subprocess.run(
        [sys.executable, "-m", "xception", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_readme_has_the_commands_that_this_test_is_about():
    found = list(commands())
    assert len(found) >= 8
    verbs = {command.split()[1] for command in found}
    assert {"train", "evaluate", "predict", "inspect"} <= verbs


def test_the_demo_learns_what_it_promises(place):
    summary = json.loads((place / "runs/demo/summary.json").read_text())
    assert summary["evaluation"]["images"] == 360
    assert summary["training"]["train_images"] == 1437
    assert summary["evaluation"]["top1"] >= 0.97
    assert (place / "runs/demo/report.html").stat().st_size > 50_000
    assert len(list((place / "runs/demo/images").iterdir())) == 10


@pytest.mark.parametrize("command", commands())
def test_readme_command_runs(command, place):
    words = shlex.split(command)
    assert words[0] == "xception"
    words = words[1:]
    if "train" in words:
        shutil.rmtree(place / "runs/mine", ignore_errors=True)
        words += ["--trainer.max_epochs", "1", "--data.batch_size", "4"]
    run(words, place)


def test_readme_python_runs_and_says_what_its_comments_say(place, monkeypatch):
    (code,) = blocks("python")
    monkeypatch.chdir(place)
    names = {}
    exec(code, names)
    assert names["logits"].shape == (2, 10)
    assert not names["model"].training


def test_the_lines_of_docs_pytorch_run_one_after_the_other(place, monkeypatch, capsys):
    page = README.parent / "docs" / "pytorch.md"
    monkeypatch.chdir(place)
    torch.manual_seed(0)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(code, names)
    assert len(names["frozen"]) > 50
    trainable = sum(p.numel() for group in names["groups"] for p in group["params"])
    assert trainable == 3 * names["vectors"].shape[1] + 3  # the head's weight and bias
    assert names["maps"].shape[:2] == names["vectors"].shape
    capsys.readouterr()
    # The file that the page ends with is one for the command line.
    assert main(["predict", "mine.safetensors", "my-images", "--top-k", "1"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()[1:]]
    assert len(rows) == len(names["images"])
    right = sum(path.split("/")[-2] == name for path, name, *_ in rows)
    assert right >= 0.6 * len(rows)  # learnt: one in three would be chance


def test_the_lines_of_docs_export_say_what_predict_says(place, monkeypatch, capsys):
    """After the README's commands: ``digits.onnx`` is there."""
    page = README.parent / "docs" / "export.md"
    code = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(place)
    run(
        ["export", "runs/demo", "digits.onnx", "--pixels", "--head", "softmax", "--overwrite"],
        place,
    )
    images = sorted((place / "runs/demo/images").iterdir())
    said = set()
    for image in images[:3]:
        shutil.copy(image, place / "photo.jpg")
        exec(code[0], {})
        name, probability = capsys.readouterr().out.split()
        predicted = run(["predict", "digits.onnx", str(image), "--top-k", "1"], place)
        _, expected, expected_probability, _ = predicted.splitlines()[1].split("\t")
        assert name == expected
        assert abs(float(probability) - float(expected_probability)) < 0.01  # PIL's rounding
        said.add(name)
    assert len(said) > 1
    exec(code[1], {})
    assert float(capsys.readouterr().out) < 1e-5


def test_readme_links_lead_somewhere():
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (README.parent / target).exists(), target


def test_readme_leaves_no_place_unfilled():
    assert "@@" not in README.read_text(encoding="utf-8")
