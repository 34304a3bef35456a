"""Fine-tuning on the classes that the starting weights know: the trained head goes on."""

import json

import pytest
import torch
from noise_pictures import write_pictures
from safetensors.torch import load_file

from xception.cli.main import main
from xception.data.preprocessing import Preprocessing
from xception.models.registry import create_model
from xception.weights.files import save_model

ORDERS = {"same": ["cat", "dog"], "other": ["dog", "cat"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images of two classes, and weights that name them in both orders."""
    place = tmp_path_factory.mktemp("place")
    write_pictures(place / "images", 10)
    torch.manual_seed(1)  # a new head is drawn with 0
    size = {"width": 0.125, "middle_flow_repeats": 1, "stem_strides": (1, 1), "num_classes": 2}
    model = create_model("xception", **size)
    with torch.no_grad():
        model.head.classifier.bias.copy_(torch.tensor([0.3, -0.2]))  # a new head has zeros
    for name, class_names in ORDERS.items():
        save_model(
            model,
            place / f"{name}.safetensors",
            class_names=class_names,
            preprocessing=Preprocessing(size=32),
        )
    return place


def train(place, run, weights, *more):
    keys = {
        "model.weights": str(place / f"{weights}.safetensors"),
        "data.root": str(place / "images"),
        "data.image_size": "32",
        "data.batch_size": "8",
        "data.num_workers": "0",
        "trainer.max_epochs": "2",
        "trainer.accelerator": "cpu",
    }
    words = [word for key, value in keys.items() for word in (f"--{key}", value)]
    assert main(["train", "finetune", "--output", str(run), *words, *more]) == 0


STANDSTILL = ["--optimizer.learning_rate", "0", "--model.freeze", "backbone"]
ASYNCHRONOUS = ["--asynchronous.workers", "2", "--asynchronous.engine", "simulator"]


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize("more", [["--trainer.logger", "false"], ASYNCHRONOUS])
def test_without_learning_a_run_is_as_good_as_its_starting_weights(
    place, tmp_path, capsys, order, more
):
    train(place, tmp_path / "run", order, *STANDSTILL, *more)
    ending = ", in another order" if order == "other" else ""
    assert f"the head is kept: the same 2 classes{ending}\n" in capsys.readouterr().out
    figures, outcomes = [], []
    for model in (place / f"{order}.safetensors", tmp_path / "run"):
        table = tmp_path / "images.jsonl"
        words = ["evaluate", str(model), str(tmp_path / "run"), "--json", "--overwrite"]
        assert main([*words, "--output", str(table)]) == 0
        figures.append(json.loads(capsys.readouterr().out))
        outcomes.append([json.loads(line) for line in table.read_text().splitlines()])
    before, after = figures
    assert (before["images"], before["top1"]) == (after["images"], after["top1"])
    assert 0.2 < before["loss"] < 2  # of two classes, unlearned: ln 2 is 0.69
    for one, other in zip(*outcomes, strict=True):
        assert (one["image"], one["predicted_class"]) == (other["image"], other["predicted_class"])
        # Not to the last bit: a product of matrices may sum in an order that depends on the row.
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)
    first = load_file(place / f"{order}.safetensors")
    last = load_file(tmp_path / "run" / "model.safetensors")
    rows = [0, 1] if order == "same" else [1, 0]
    for name, tensor in first.items():
        expected = tensor[rows] if name.startswith("head.classifier.") else tensor
        assert torch.equal(last[name], expected), name


def test_a_new_head_can_be_asked_for_and_is_drawn_as_for_other_classes(place, tmp_path, capsys):
    train(place, tmp_path / "run", "same", *STANDSTILL, "--model.head", "new")
    assert "new head: model.head is new\n" in capsys.readouterr().out
    first = load_file(place / "same.safetensors")
    last = load_file(tmp_path / "run" / "model.safetensors")
    assert not torch.equal(last["head.classifier.weight"], first["head.classifier.weight"])
    assert last["head.classifier.bias"].tolist() == [0.0, 0.0]
    assert torch.equal(last["entry_flow.conv1.conv.weight"], first["entry_flow.conv1.conv.weight"])


def test_a_resumed_run_goes_on_with_the_head_that_it_has_trained(place, tmp_path, capsys):
    train(place, tmp_path / "whole", "other", "--trainer.logger", "false")
    train(place, tmp_path / "killed", "other", "--trainer.logger", "false")
    killed = tmp_path / "killed"
    (killed / "checkpoints" / "previous.ckpt").replace(killed / "checkpoints" / "last.ckpt")
    for name in ("summary.json", "model.safetensors"):
        (killed / name).unlink()
    capsys.readouterr()
    assert main(["train", str(killed), "--resume"]) == 0
    told = capsys.readouterr().out
    assert "going on from" in told
    assert "head is kept" not in told  # which is said of the beginning alone
    first, second = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)
