import csv
import io
import json
import re
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from xception.data.preprocessing import Preprocessing
from xception.weights.files import open_model, save_model

ERRORS = {
    "cut.jpg": "the file is truncated",
    "text.jpg": "it is not an image of a known format",
    "zero.jpg": "the file is empty (0 bytes)",
}


def test_predict_prints_rows_and_exits_with_1_for_unreadable_images(command, small_model, pictures):
    code, out, err = command("predict", small_model, pictures, "--top-k", 2)
    assert code == 1
    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[0] == ["image", "class", "probability", "error"]
    assert [row[0] for row in rows[1:5]] == [str(pictures / "a [bold].png")] * 2 + [
        str(pictures / "b.jpg")
    ] * 2
    assert float(rows[1][2]) >= float(rows[2][2]) > 0
    assert {row[0].rpartition("/")[2]: row[3] for row in rows if row[3] and row[0] != "image"} == (
        ERRORS
    )
    assert err == "xception: 3 of 5 images could not be read\n"


def test_predict_exits_with_0_when_all_is_readable(command, small_model, pictures):
    code, out, err = command("predict", small_model, pictures / "b.jpg")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1 + 5


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_predict_writes_a_file_with_a_row_for_each_image(
    command, small_model, pictures, tmp_path, ending
):
    path = tmp_path / f"out{ending}"
    code, out, _ = command("predict", small_model, pictures, "--top-k", 2, "--output", path)
    assert code == 1
    assert out == f"2 images classified: {path}\n"
    if ending == ".csv":
        rows = list(csv.DictReader(path.open(encoding="utf-8")))
    elif ending == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    assert list(rows[0]) == [
        "image", "class_1", "probability_1", "class_2", "probability_2", "error"
    ]  # fmt: skip
    assert len(rows) == 5
    assert {r["image"].rpartition("/")[2]: r["error"] for r in rows if r["error"]} == ERRORS
    assert 0 < float(rows[0]["probability_2"]) <= float(rows[0]["probability_1"]) < 1


def test_predict_does_not_overwrite_a_file_unasked(command, small_model, pictures, tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("precious")
    words = ("predict", small_model, pictures / "b.jpg", "--output", path)
    code, _, err = command(*words)
    assert code == 2
    assert err == (
        f"xception: error: {path} exists; add --overwrite to replace it, or give another name\n"
    )
    assert path.read_text() == "precious"
    assert command(*words, "--overwrite")[0] == 0
    assert path.read_text().startswith("image,class_1")


def test_predict_tells_mistakes_in_one_sentence(command, small_model, pictures, tmp_path):
    false = tmp_path / "false.safetensors"
    false.write_text("no weights")
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([], "missing: MODEL, PATHS"),
        ([small_model], "missing: PATHS"),
        (
            [small_model, pictures, "--topk", 3],
            "there is no option --topk; did you mean '--top-k'?",
        ),
        ([small_model, pictures, "--top", 3], "there is no option --top"),  # no abbreviations
        ([small_model, pictures, "--top-k", "x"], "--top-k: expected int, not 'x'"),
        ([small_model, pictures, "--top-k", 0], "top_k is 0; give 1 or more"),
        ([small_model, pictures, "--device", "tpu"], "expected one of auto, cpu, cuda, not 'tpu'"),
        ([tmp_path / "nothing", pictures], "nothing"),
        ([false, pictures], "false.safetensors"),
        ([small_model, tmp_path / "nothing.png"], "there is no file or folder"),
        ([small_model, tmp_path / "empty"], "there is no image in the folder"),
        ([small_model, str(pictures / "*.gif")], "no file matches"),
        ([small_model, pictures, "--output", "x.txt"], "give one of .csv, .jsonl, .parquet"),
        ([small_model, pictures, "--weights", "raw"], "one set of weights"),
    ):
        code, out, err = command("predict", *words)
        assert (code, out) == (2, ""), (words, err)
        assert err.startswith("xception: error: "), err
        assert message in err
        assert err.count("\n") == 1, err


def test_predict_without_class_names_gives_their_numbers(command, pictures, tmp_path):
    from xception import create_model
    from xception.data.preprocessing import Preprocessing
    from xception.weights.files import save_model

    model = create_model(
        "xception", num_classes=3, width=0.125, middle_flow_repeats=0, stem_strides=(1, 1)
    )
    save_model(model, tmp_path / "nameless.safetensors", preprocessing=Preprocessing(size=32))
    code, out, _ = command("predict", tmp_path / "nameless.safetensors", pictures / "b.jpg")
    assert code == 0
    assert sorted(line.split("\t")[1] for line in out.splitlines()[1:]) == ["0", "1", "2"]


def test_table_on_a_terminal_has_whole_names_and_no_markup(monkeypatch):
    from rich.console import Console

    from xception.cli import prediction_output
    from xception.inference import Prediction

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=70, color_system=None)
    monkeypatch.setattr(prediction_output, "Console", lambda **_: console)
    predictions = [
        Prediction("a [bold] name.png", ("[red]tabby", "cat"), (1, 0), (0.75, 0.25)),
        Prediction("b.png", error="the file is truncated"),
    ] * 20
    prediction_output.show_predictions(predictions, total=40)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())  # cursor movements
    lines = [line.rstrip() for line in text.splitlines()]
    rows = [line.split() for line in lines]
    assert rows.count(["a", "[bold]", "name.png", "[red]tabby", "75.0", "%"]) == 20
    assert rows.count(["cat", "25.0", "%"]) == 20
    assert sum("unreadable: the file is" in line for line in lines) == 20
    assert sum("probability" in line for line in lines) == 1  # one heading, whole


def test_predict_help_is_quick_and_names_defaults(command):
    code, out, _ = command("predict", "--help")
    assert code == 0
    assert "default: 5" in out
    assert "--top-k" in out


def test_predict_and_evaluate_take_another_preprocessing(command, small_model, tmp_path):
    """A wide picture: what the whole of it and its middle give, by the library itself."""
    folder = tmp_path / "wide" / "0"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(3).integers(0, 256, (20, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "wide.png")
    loaded = open_model(small_model)
    with torch.no_grad():  # random weights call every picture 0.1 alike: a sharper head
        loaded.model.get_parameter("head.classifier.weight").mul_(300)
    sharp = tmp_path / "sharp.safetensors"
    save_model(loaded.model, sharp, class_names=loaded.class_names)
    for digit in range(1, 10):  # evaluation asks for all of the model's classes
        (tmp_path / "wide" / str(digit)).mkdir()
        Image.fromarray(pixels).save(tmp_path / "wide" / str(digit) / "wide.png")
    told: list[float] = []
    for mode in ("squash", "pad", "resize-crop"):
        prepare = Preprocessing(size=48, mode=mode, crop_fraction=0.9, antialias=False)
        image = prepare.normalize(prepare(torch.from_numpy(pixels).permute(2, 0, 1))[None])
        with torch.no_grad():
            best = loaded.model(image).softmax(1).max().item()
        options = ("--evaluation-mode", mode, "--image-size", 48, "--crop-fraction", 0.9)
        output = tmp_path / f"{mode}.csv"
        words = (*options, "--antialias", "false", "--output", output)
        assert command("predict", sharp, folder / "wide.png", *words)[0] == 0
        found = next(csv.DictReader(output.open()))
        assert abs(float(found["probability_1"]) - best) < 1e-4  # float32, another memory layout
        output = tmp_path / f"{mode}-evaluated.csv"
        words = (*options, "--antialias", "false", "--output", output)
        assert command("evaluate", sharp, tmp_path / "wide", *words)[0] == 0
        found = next(csv.DictReader(output.open()))
        assert abs(float(found["probability"]) - best) < 1e-4
        told.append(best)
    assert min(abs(a - b) for a, b in combinations(told, 2)) > 3e-4
