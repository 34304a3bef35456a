"""``xception evaluate --metric map@K`` against MAP@K by its definition."""

import csv
import json

import pytest
import torch
from torchvision.io import write_png

from xception.data.digit_scenes import open_digit_scenes
from xception.data.digits import open_digits
from xception.data.preprocessing import Preprocessing
from xception.weights.files import load_model

WEIGHTS = [3.0, 1.0, 0.0, 2.0, 0.5, 1.0, 4.0, 1.0, 1.0, 2.5]
COUNT = 60


@pytest.fixture(scope="session")
def scene_tables(tmp_path_factory):
    """Scenes as files with a label table; the classes in another order than the model has them."""
    root = tmp_path_factory.mktemp("scenes")
    scenes = open_digit_scenes("evaluation")
    (root / "classes.txt").write_text("\n".join(map(str, reversed(range(10)))) + "\n")
    rows = []
    for index in range(COUNT):
        image, targets = scenes[index]
        write_png(image, str(root / f"{index}.png"))
        rows.append({"image": f"{index}.png", "labels": [str(c) for c in targets.class_ids]})
    (root / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture
def weight_file(tmp_path):
    path = tmp_path / "weights.csv"
    path.write_text("class,weight\n" + "".join(f"{i},{w}\n" for i, w in enumerate(WEIGHTS)))
    return path


def mean_average_precision(small_model, images, labels, k, weights, left_out=()):
    """The definition, in loops: Σ_{i≤k} w·rel_i·P(i) over the min(|Y|, k) largest weights of Y."""
    preprocessing = Preprocessing(size=32, crop_fraction=1.0)
    with torch.no_grad():
        logits = load_model(small_model)(preprocessing.normalize(images))
    total, counted = 0.0, 0
    for scores, own in zip(logits.tolist(), labels, strict=True):
        most = sum(sorted((weights[c] for c in own), reverse=True)[:k])
        if most == 0:
            continue
        counted += 1
        hits = reached = 0.0
        ranked = sorted(set(range(10)) - set(left_out), key=lambda c: -scores[c])
        for rank, c in enumerate(ranked[:k], start=1):
            if c in own:
                hits += 1
                reached += weights[c] * hits / rank
        total += reached / most
    return total / counted


def test_map_of_a_table_is_that_of_the_definition(command, small_model, scene_tables, weight_file):
    scenes = open_digit_scenes("evaluation")
    labels = [scenes[i][1].class_ids.tolist() for i in range(COUNT)]
    words = ["evaluate", small_model, scene_tables, "--json", "--metric", "map@3"]
    code, out, err = command(*words, "--class-weights", weight_file)
    assert (code, err) == (0, "")
    found = json.loads(out)
    expected = mean_average_precision(small_model, scenes.images[:COUNT], labels, 3, WEIGHTS)
    # the memory layout of the images differs, which could swap two all but equal scores
    assert found["map"] == pytest.approx(expected, abs=1e-3)
    assert (found["k"], found["images"], found["weighted"]) == (3, COUNT, True)
    plain = json.loads(command(*words)[1])["map"]
    assert plain == pytest.approx(
        mean_average_precision(small_model, scenes.images[:COUNT], labels, 3, [1.0] * 10), abs=1e-3
    )
    assert abs(plain - found["map"]) > 1e-3


def test_predictions_outside_the_annotated_classes_are_masked_before_the_top_k(
    command, small_model, scene_tables, tmp_path
):
    """Where a class was not annotated, it takes no place among the three best."""
    scenes = open_digit_scenes("evaluation")
    normalize = Preprocessing(size=32, crop_fraction=1.0).normalize
    with torch.no_grad():
        best = load_model(small_model)(normalize(scenes.images[:COUNT])).argmax(1)
    absent = int(best.mode().values)  # the class that is predicted most
    kept = [i for i in range(COUNT) if absent not in scenes[i][1].class_ids]
    rows = (scene_tables / "val.jsonl").read_text().splitlines()
    (tmp_path / "table.jsonl").write_text("\n".join(rows[i] for i in kept))
    for i in kept:
        (tmp_path / f"{i}.png").write_bytes((scene_tables / f"{i}.png").read_bytes())
    (tmp_path / "classes.txt").write_bytes((scene_tables / "classes.txt").read_bytes())
    others = [c for c in range(10) if c != absent]
    (tmp_path / "annotated.txt").write_text("\n".join(map(str, others)))
    words = ["evaluate", small_model, tmp_path / "table.jsonl", "--json", "--metric", "map@3"]
    masked = [*words, "--annotated-classes", tmp_path / "annotated.txt"]

    labels = [scenes[i][1].class_ids.tolist() for i in kept]
    weights = [1.0] * 10
    images = scenes.images[kept]
    for told, left_out in ((masked, {absent}), ([*masked, "--unannotated", "negative"], set())):
        code, out, err = command(*told)
        assert (code, err) == (0, "")
        expected = mean_average_precision(small_model, images, labels, 3, weights, left_out)
        assert json.loads(out)["map"] == pytest.approx(expected, abs=1e-3)
        assert json.loads(out)["unannotated"] == ("masked" if left_out else "negative")
    assert (
        abs(
            mean_average_precision(small_model, images, labels, 3, weights, {absent})
            - mean_average_precision(small_model, images, labels, 3, weights)
        )
        > 2e-3
    )  # else the test could not tell them apart

    for text, sentence in (
        ("8\nnine", "'nine' is none of the model's"),
        (str(absent), "has label"),
    ):
        (tmp_path / "annotated.txt").write_text(text)
        code, _, err = command(*masked)
        assert (code, err.count("\n")) == (2, 1)
        assert sentence in err


def test_images_of_a_recipe_are_scored_by_its_k(command, small_model):
    for options, k in (([], 4), (["--metric", "map@7"], 7)):
        words = ("evaluate", small_model, "digit-scenes-xception", "--json", *options)
        code, out, errors = command(*words)
        assert code == 0, errors
        assert json.loads(out)["k"] == k


def test_images_with_one_label_have_a_map_too(command, small_model):
    code, out, _ = command("evaluate", small_model, "digits", "--json", "--metric", "map@5")
    digits = open_digits("evaluation")
    labels = [[label] for label in digits.labels.tolist()]
    expected = mean_average_precision(small_model, digits.images, labels, 5, [1.0] * 10)
    assert code == 0
    assert json.loads(out)["map"] == pytest.approx(expected, abs=1e-3)


def test_terminal_names_reading_denominator_best_and_worst(
    command, small_model, scene_tables, weight_file, tmp_path
):
    table = tmp_path / "classes.csv"
    words = [small_model, scene_tables, "--class-weights", weight_file, "--class-table", table]
    code, out, _ = command("evaluate", *words)
    assert code == 0
    assert "MAP@10" in out  # 100 in the paper; here there are ten classes
    for text in ("per image, class weights as given", "denominator", "the best", "the worst"):
        assert text in out
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [str(d) for d in range(10)]
    assert [float(row["weight"]) for row in rows] == WEIGHTS
    scenes = open_digit_scenes("evaluation")
    positives = [int(row["positives"]) for row in rows]
    assert sum(positives) == sum(len(scenes[i][1].class_ids) for i in range(COUNT))


def test_unreadable_images_are_in_no_figure(command, small_model, scene_tables, tmp_path):
    rows = (scene_tables / "val.jsonl").read_text().splitlines()[:3]
    for name in ("0.png", "2.png"):
        (tmp_path / name).write_bytes((scene_tables / name).read_bytes())
    (tmp_path / "classes.txt").write_bytes((scene_tables / "classes.txt").read_bytes())
    (tmp_path / "table.jsonl").write_text("\n".join(rows))
    words = [small_model, tmp_path / "table.jsonl", "--json", "--metric", "map@3"]
    code, out, err = command("evaluate", *words)
    assert code == 1
    found = json.loads(out)
    assert (found["images"], found["skipped"]) == (2, 1)
    assert "1.png: No such file" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--metric", "map"], "there are accuracy and map@K"),
        (["--metric", "map@0"], "there are accuracy and map@K"),
        (["--metric", "map@11"], "k=11 is not between 1 and the number of classes, 10"),
        (["--metric", "accuracy"], "several labels"),
        (["--output", "rows.csv"], "give --class-table"),
        (["--class-weights", "nowhere.csv"], "cannot read the class weights"),
    ],
)
def test_mistakes_get_one_sentence(command, small_model, scene_tables, words, sentence):
    code, _, err = command("evaluate", small_model, scene_tables, *words)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1


def test_class_weights_without_map_are_refused(command, small_model, weight_file):
    code, _, err = command("evaluate", small_model, "digits", "--class-weights", weight_file)
    assert code == 2
    assert "add --metric map@100" in err
