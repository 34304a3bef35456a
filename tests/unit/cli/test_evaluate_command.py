import csv
import json
import shutil

import numpy as np
import pytest

from xception.data.digits import open_digits
from xception.data.preprocessing import Preprocessing
from xception.weights.files import load_model


@pytest.fixture
def digit_folder(tmp_path):
    """Three images of each digit, in folders named after them."""
    from PIL import Image

    source = open_digits("evaluation")
    folder = tmp_path / "folder"
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for index in np.flatnonzero(source.labels == digit)[:3]:
            pixels = source[int(index)][0].permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(folder / str(digit) / f"{index}.png")
    return folder


def reference(small_model):
    """Top-1, top-5 and loss by a plain pass over the held-out digits."""
    import torch

    source = open_digits("evaluation")
    labels = torch.from_numpy(source.labels)
    preprocessing = Preprocessing(size=32, crop_fraction=1.0)
    with torch.no_grad():
        logits = load_model(small_model)(preprocessing.normalize(source.images))
    top5 = (logits.topk(5).indices == labels[:, None]).any(dim=1)
    return {
        "top1": (logits.argmax(dim=1) == labels).double().mean().item(),
        "top5": top5.double().mean().item(),
        "loss": torch.nn.functional.cross_entropy(logits, labels).item(),
    }


def test_evaluate_prints_exact_figures_as_json(command, small_model):
    code, out, err = command("evaluate", small_model, "digits", "--json", "--batch-size", 100)
    assert (code, err) == (0, "")
    found, expected = json.loads(out), reference(small_model)
    # the memory layout differs, and with it the order of float32 additions
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert found["top1"] == pytest.approx(expected["top1"], abs=1.5 / 360)
    assert found["top5"] == pytest.approx(expected["top5"], abs=1.5 / 360)
    assert (found["images"], found["skipped"]) == (360, 0)
    assert sum(entry["images"] for entry in found["classes"]) == 360
    assert [entry["name"] for entry in found["classes"]] == [str(d) for d in range(10)]


def test_evaluate_prints_a_table(command, small_model):
    code, out, _ = command("evaluate", small_model, "digits")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["images", "360"] in rows
    assert any(row[:2] == ["top-1", "accuracy"] for row in rows)
    assert any(row[:2] == ["top-5", "accuracy"] for row in rows)
    assert ["class", "images", "top-1"] in rows


def test_evaluate_takes_a_folder_and_leaves_unreadable_images_out(
    command, small_model, digit_folder, tmp_path
):
    (digit_folder / "3" / "zero.png").touch()
    (digit_folder / "4" / "folder.jpg").mkdir()
    output = tmp_path / "images.csv"
    code, out, err = command("evaluate", small_model, digit_folder, "--json", "--output", output)
    assert code == 1
    found = json.loads(out)
    assert (found["images"], found["skipped"]) == (30, 2)
    assert found["skipped_images"] == [
        f"{digit_folder}/3/zero.png: the file is empty (0 bytes)",
        f"{digit_folder}/4/folder.jpg: it is a folder",
    ]
    assert "2 of 32 images could not be read and are in no figure" in err
    rows = list(csv.DictReader(output.open(encoding="utf-8")))
    assert len(rows) == 32
    assert sum(bool(row["error"]) for row in rows) == 2
    counted = [row for row in rows if not row["error"]]
    right = np.mean([row["true_class"] == row["predicted_class"] for row in counted])
    assert found["top1"] == right == np.mean([row["rank"] == "1" for row in counted])
    assert found["loss"] == pytest.approx(np.mean([float(row["loss"]) for row in counted]))
    for row in counted:
        assert float(row["true_class_probability"]) == pytest.approx(np.exp(-float(row["loss"])))


def test_evaluate_takes_the_held_out_images_of_a_recipe(
    command, small_model, digit_folder, tmp_path
):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"data: {{name: folder, root: {digit_folder}, validation_fraction: 0.34, image_size: 32}}\n"
        "model: {stem_strides: [1, 1]}\ntrainer: {max_epochs: 1}\n"
    )
    code, out, _ = command("evaluate", small_model, recipe, "--json")
    assert (code, json.loads(out)["images"]) == (0, 10)
    code, out, _ = command("evaluate", small_model, recipe, "--json", "--split", "train")
    assert (code, json.loads(out)["images"]) == (0, 20)
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(recipe, run / "recipe.yaml")
    assert json.loads(command("evaluate", small_model, run, "--json")[1])["images"] == 10


def test_evaluate_names_the_first_difference_of_the_classes(command, small_model, digit_folder):
    (digit_folder / "7").rename(digit_folder / "seven")
    code, _, err = command("evaluate", small_model, digit_folder)
    assert code == 2
    assert "different classes: the model does not know 'seven'" in err
    (digit_folder / "seven").rename(digit_folder.parent / "elsewhere")
    code, _, err = command("evaluate", small_model, digit_folder)
    assert code == 2
    assert "the model has 10 classes and the data 9: the data lacks '7'" in err


def test_evaluate_prints_both_figures_where_images_are_blacklisted(
    command, small_model, monkeypatch
):
    source = open_digits("evaluation")
    source.blacklisted = set(range(100))
    monkeypatch.setattr("xception.cli.labelled_data.open_source", lambda *_, **__: source)
    _, out, _ = command("evaluate", small_model, "digits", "--json")
    found = json.loads(out)
    assert (found["images"], found["with_blacklisted"]["images"]) == (260, 360)
    _, out, _ = command("evaluate", small_model, "digits")
    assert "on all images" in out
    assert ["images", "260", "360"] in [line.split() for line in out.splitlines()]


def test_evaluate_tells_mistakes_in_one_sentence(command, small_model, tmp_path):
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([small_model], "missing: DATA"),
        ([small_model, "digitz"], "did you mean 'digits'?"),
        ([small_model, "imagenet"], "give --data-root"),
        ([small_model, tmp_path / "empty"], "is empty"),
        ([small_model, "digits", "--wieghts", "raw"], "did you mean '--weights'?"),
        ([small_model, "digits", "--weights", "raw"], "one set of weights"),
        ([small_model, "digits", "--batch-size", 0], "the evaluation batch is 0"),
        ([small_model, "digits", "--num-workers", -1], "the number of workers is -1"),
        ([small_model, "digits", "--output", "x.txt"], "give one of .csv, .jsonl, .parquet"),
        ([tmp_path / "nothing", "digits"], "nothing"),
    ):
        code, out, err = command("evaluate", *words)
        assert (code, out) == (2, ""), (words, err)
        assert message in err, err
        assert err.count("\n") == 1, err
