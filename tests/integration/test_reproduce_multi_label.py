"""``xception reproduce``: the multi-label items, and the paper's own scales on made photographs."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from xception.cli.main import main

ONE_STEP = ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--model.width", "0.125"]


def test_table_2_and_vgg_style_are_trained_and_reported(tmp_path):
    output = tmp_path / "out"
    words = ["table-2", "figure-7", "vgg-style", *ONE_STEP, "--trainer.limit_val_batches", "1"]
    assert main(["reproduce", *words, "--output", str(output)]) == 0
    rows = {row["variant"]: row for row in csv.DictReader((output / "results.csv").open())}
    assert sorted(rows) == [
        "multi-label-inception-v3",
        "multi-label-inception-v3-fc",
        "multi-label-xception",
        "multi-label-xception-fc",
        "vgg-style",
    ]
    for row in rows.values():
        assert row["state"] == "finished"
        assert 0 <= float(row["map"]) <= 1
        assert row["top1"] == ""
    shown = (output / "report.md").read_text()
    section = shown[shown.index("### Table 2: MAP@100 on JFT") : shown.index("### Table 3")]
    not_run = [line for line in section.splitlines() if "not run" in line]
    assert [line.split(" | ")[0] for line in not_run] == [  # ImageNet's task was not asked for
        "| relative gain of Xception over Inception V3, top-1 of table 1"
    ]
    assert "6.78 %" in section


def write_photograph(path, seed):
    """A smooth random picture of 299x299 pixels as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((299, 299), Image.Resampling.BICUBIC).save(path, quality=90)


@pytest.fixture
def imagenet(tmp_path):
    for seed in range(8):
        for split in ("train", "val"):
            wnid = f"n0000000{seed % 2}"
            name = f"ILSVRC2012_val_{seed + 1:08d}" if split == "val" else f"{wnid}_{seed}"
            write_photograph(tmp_path / "data" / split / wnid / f"{name}.JPEG", seed)
    return tmp_path / "data"


@pytest.fixture
def jft(tmp_path):
    root = tmp_path / "data"
    for seed in range(8):
        write_photograph(root / "images" / f"{seed}.jpg", seed)
    (root / "classes.txt").write_text("".join(f"class-{c}\n" for c in range(17_000)))
    rows = "".join(f"images/{i}.jpg,class-{i}|class-{i + 16_000}\n" for i in range(8))
    for split in ("train", "validation"):
        (root / f"{split}.csv").write_text("image,labels\n" + rows)
    return root


TWO_STEPS = [
    *("--trainer.max_steps", "2", "--trainer.accelerator", "cpu", "--data.batch_size", "2"),
    *("--data.num_workers", "0"),
]


def steps_and_size(output):
    found = {}
    for path in output.glob("cells/*/seed-0/summary.json"):
        summary = json.loads(path.read_text())
        found[path.parent.parent.name] = (summary["training"]["steps"], summary["parameters"])
    return found


@pytest.mark.slow
def test_imagenets_recipes_run_two_steps_on_images_of_their_size(imagenet, tmp_path):
    output = tmp_path / "out"
    words = ["table-1", "figure-9", "--scale", "imagenet", "--data-root", str(imagenet)]
    assert main(["reproduce", *words, *TWO_STEPS, "--output", str(output)]) == 0
    # two classes instead of 1,000: 998 rows of 2,048 weights and a bias less than in table 3
    found = steps_and_size(output)
    assert found["xception"] == (2, 22_855_952 - 998 * 2049)
    assert found["inception-v3"] == (2, 23_626_728 - 998 * 2049)
    assert found["vgg-16"] == (2, 138_357_544 - 998 * 4097)  # torchvision's size
    assert found["resnet-152"][0] == found["no-residual"][0] == 2


@pytest.mark.slow
def test_jfts_recipes_run_two_steps_on_images_of_their_size(jft, tmp_path):
    output = tmp_path / "out"
    words = ["--scale", "jft", "--data-root", str(jft), "--trainer.val_check_interval", "1"]
    assert main(["reproduce", *words, *TWO_STEPS, "--output", str(output)]) == 0
    found = steps_and_size(output)
    assert len(found) == 5
    assert {steps for steps, _ in found.values()} == {2}
    # table 3's network with 17,000 instead of 1,000 classes
    assert found["multi-label-xception"][1] == 22_855_952 + 16_000 * 2049
    # fully-connected layers: 2,048 x 4,096 and 4,096 x 4,096 with biases, and a wider head
    layers = 2048 * 4096 + 4096 + 4096 * 4096 + 4096 + 2048 * 17_000
    assert found["multi-label-xception-fc"][1] - found["multi-label-xception"][1] == layers
