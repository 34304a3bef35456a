"""``xception train`` on a folder in which some files are no images."""

import json

import pytest
import torch

from xception.cli.main import main


@pytest.fixture
def folder(tmp_path):
    from torchvision.io import write_png

    generator = torch.Generator().manual_seed(0)
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(10):
            pixels = torch.randint(0, 256, (3, 32, 32), generator=generator).to(torch.uint8)
            write_png(pixels, str(tmp_path / "images" / label / f"{number}.png"))
        (tmp_path / "images" / label / "broken.png").write_bytes(b"")
    return tmp_path


def train(folder, *more):
    keys = {
        "model.width": "0.125",
        "model.middle_flow_repeats": "0",
        "data.name": "folder",
        "data.root": str(folder / "images"),
        "data.batch_size": "8",
        "trainer.max_epochs": "2",
        "trainer.accelerator": "cpu",
    }
    words = [f"--{key}={value}" for key, value in keys.items()]
    return main(["train", "digits-xception", "--output", str(folder / "run"), *words, *more])


def test_unreadable_images_are_passed_over_named_and_told_by_the_exit_code(folder, capsys):
    assert train(folder) == 1
    printed = capsys.readouterr()
    assert "2 images could not be read" in printed.err
    assert "Traceback" not in printed.err
    summary = json.loads((folder / "run" / "summary.json").read_text())
    named = len(summary["training"]["unreadable"]) + summary["evaluation"]["skipped"]
    assert named == 2
    assert "broken.png" in (folder / "run" / "report.html").read_text()
    assert train(folder, "--resume") == 0  # there is nothing left to do


def test_too_many_unreadable_images_stop_the_run_which_can_go_on_with_another_limit(folder, capsys):
    for number in range(8):
        (folder / "images" / "cat" / f"{number}.png").write_bytes(b"no image")
    assert train(folder, "--data.max_unreadable=1") == 2
    assert "data.max_unreadable = 1" in capsys.readouterr().err
    assert train(folder, "--data.max_unreadable=20", "--resume") == 1
