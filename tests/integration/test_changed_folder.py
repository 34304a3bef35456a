"""Runs on a folder of images that changes between training, going on, and evaluation."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from noise_pictures import write_pictures
from PIL import Image
from safetensors.torch import load_file

from xception.cli.main import main
from xception.data.folders import open_folder
from xception.data.image_record import read_record
from xception.paper import trials
from xception.paper.search import KEYS, Asked
from xception.recipes import run
from xception.recipes.load import load_recipe
from xception.recipes.run import run_recipe
from xception.weights.files import open_model

COUNT = 10  # images of each class; a fifth of them is held out


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of two classes of noise, and a run of two epochs on it."""
    place = tmp_path_factory.mktemp("folder")
    write_pictures(place / "images", COUNT)
    assert main(words(place)) == 0
    return place


@pytest.fixture
def place(trained, tmp_path):
    """A copy of both, to be changed."""
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


def words(place, *more):
    keys = {
        "model.width": "0.125",
        "model.middle_flow_repeats": "1",
        "data.name": "folder",
        "data.root": str(place / "images"),
        "data.image_size": "32",
        "data.batch_size": "8",
        "trainer.max_epochs": "2",
        "trainer.log_every_n_steps": "1",
        "trainer.accelerator": "cpu",
        "trainer.logger": "false",
    }
    options = (word for key, value in keys.items() for word in (f"--{key}", value))
    return ["train", "digits-xception", "--output", str(place / "run"), *options, *more]


def evaluate(place, capsys, *more, code=0):
    run = str(place / "run")
    capsys.readouterr()
    words = ["evaluate", run, run, "--json", "--data-root", str(place / "images"), *more]
    assert main(words) == code
    told = capsys.readouterr()
    return json.loads(told.out) if code == 0 else None, told.err


def rows(place, part):
    lines = (place / "run" / "images.csv").read_text().splitlines()[1:]
    return [line.split(",")[1] for line in lines if line.startswith(f"{part},")]


def save_noise(path, seed):
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (36, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_evaluation_holds_the_same_images_out_after_others_came_and_went(place, capsys):
    before, told = evaluate(place, capsys)
    assert told == ""
    assert before["images"] == 2 * COUNT // 5
    for seed in range(7):
        save_noise(place / "images" / "cat" / f"-{seed}.png", 100 + seed)  # sorts before all
    save_noise(place / "images" / "ant" / "1.png", 200)  # a class before all others
    (place / "images" / rows(place, "train")[0]).unlink()
    held_out = place / "images" / rows(place, "held-out")[0]
    held_out.rename(held_out.with_name("renamed.png"))
    after, told = evaluate(place, capsys)
    for figure in ("images", "top1", "loss", "classes"):
        assert after[figure] == before[figure]
    assert told == (
        f"xception: of the 4 images that {place / 'run'} held out, 4 are evaluated: 1 found under "
        "another name; 8 images new since and left out (--split new takes them)\n"
    )
    assert after["images_of_the_run"] == {"recorded": 4, "renamed": 1, "missing": [], "new": 8}


def test_evaluation_of_what_came_since_and_of_nothing(place, capsys):
    _, told = evaluate(place, capsys, "--split", "new", code=2)
    assert "has no image that came after" in told
    for seed in range(3):
        save_noise(place / "images" / "cat" / f"new{seed}.png", 100 + seed)
    shutil.copy(place / "images" / rows(place, "train")[0], place / "images" / "dog" / "copy.png")
    found, _ = evaluate(place, capsys, "--split", "new")
    assert found["images"] == 3
    for path in rows(place, "held-out"):
        (place / "images" / path).unlink()
    _, told = evaluate(place, capsys, code=2)
    assert f"none of the 4 images that {place / 'run'} held out is left" in told


def test_evaluation_says_which_images_were_trained_on(place, capsys):
    words = ["evaluate", str(place / "run"), str(place / "images")]
    assert main(words) == 0
    assert "16 of the 20 images were trained on" in capsys.readouterr().err


def test_evaluation_of_a_run_without_a_list_draws_as_it_did_and_says_so(place, capsys):
    (place / "run" / "images.csv").unlink()
    found, told = evaluate(place, capsys, "--output", str(place / "found.csv"))
    assert found["images"] == 4
    by = {"validation_fraction": 0.2, "by_position": True}
    drawn = open_folder(place / "images", "evaluation", **by)
    lines = (place / "found.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [drawn.describe(i) for i in range(4)]
    assert "has no list of its images: the held-out ones are drawn again" in told


def go_back_an_epoch(run):
    """Leaves the run as if it had been killed in its second epoch."""
    (run / "checkpoints" / "previous.ckpt").replace(run / "checkpoints" / "last.ckpt")
    for name in ("summary.json", "model.safetensors", "evaluation.npz", "report.html"):
        (run / name).unlink()


def test_a_run_goes_on_with_its_own_images_after_others_came(trained, place, capsys):
    run = place / "run"
    go_back_an_epoch(run)
    for seed in range(7):
        save_noise(place / "images" / "cat" / f"-{seed}.png", 100 + seed)
    save_noise(place / "images" / "ant" / "1.png", 200)
    assert main(words(place, "--resume")) == 0
    assert "8 images came into" in capsys.readouterr().err
    first, second = (load_file(p / "run" / "model.safetensors") for p in (trained, place))
    assert all(torch.equal(first[name], second[name]) for name in first | second)
    summaries = [json.loads((p / "run" / "summary.json").read_text()) for p in (trained, place)]
    assert summaries[0]["evaluation"] == summaries[1]["evaluation"]


def test_a_run_refuses_to_go_on_without_one_of_its_images(place, capsys):
    go_back_an_epoch(place / "run")
    first = place / "images" / rows(place, "train")[0]
    content = first.read_bytes()
    for other in (content[:-1] + b"x", None):  # other bytes of the same number, or none at all
        first.unlink() if other is None else first.write_bytes(other)
        assert main(words(place, "--resume")) == 2
        told = capsys.readouterr().err
        assert "1 of the run's 16 training images" in told
        assert rows(place, "train")[0] in told


def test_training_warns_of_images_that_are_in_both_parts(place, capsys):
    held_out, trained_image = (rows(place, part)[0] for part in ("held-out", "train"))
    shutil.copy(place / "images" / trained_image, place / "images" / held_out)
    assert main(words(place, "--overwrite")) == 0
    told = capsys.readouterr().err
    assert (
        f"1 held-out image with the same bytes as a training image ({held_out} is {trained_image})"
    ) in told


def test_training_from_weights_warns_of_held_out_images_that_these_know(place, capsys):
    keys = ("--seed", "1", "--model.weights", str(place / "run"), "--output", str(place / "second"))
    arguments = words(place, *keys)
    del arguments[arguments.index("--output") : arguments.index("--output") + 2]
    assert main(arguments) == 0
    first = set(rows(place, "train"))
    lines = (place / "second" / "images.csv").read_text().splitlines()
    second = {line.split(",")[1] for line in lines if line.startswith("held-out,")}
    known = len(first & second)
    assert known > 0  # by another seed, others are held out
    assert f"{known} held-out image" in capsys.readouterr().err


def test_a_label_table_that_rows_were_drawn_from_may_not_change(tmp_path, capsys):
    for number in range(10):
        save_noise(tmp_path / "table" / f"{number}.png", number)
    (tmp_path / "table" / "classes.txt").write_text("a\nb\n")
    table = tmp_path / "table" / "train.jsonl"
    lines = [json.dumps({"image": f"{n}.png", "labels": [n % 2]}) for n in range(10)]
    table.write_text("\n".join(lines) + "\n")
    keys = ("--data.name", "multi-label", "--data.root", str(tmp_path / "table"))
    small = ("--data.image_size", "32", "--data.batch_size", "4", "--map.k", "1")
    run = str(tmp_path / "run")
    short = ("--trainer.max_epochs", "1", "--model.width", "0.125", "--output", run)
    assert main(["train", "digit-scenes-xception", *keys, *small, *short]) == 0
    assert main(["evaluate", run, run, "--metric", "map@1"]) == 0
    with table.open("a") as file:
        file.write(lines[0] + "\n")
    capsys.readouterr()
    assert main(["evaluate", run, run, "--metric", "map@1"]) == 2
    assert "train.jsonl is gone or has changed since" in capsys.readouterr().err


def test_a_run_that_keeps_its_best_weights_says_so(place, capsys):
    # validated after the second and the fourth of five epochs: the best weights are not the last
    keys = ("--trainer.max_epochs", "5", "--trainer.check_val_every_n_epoch", "2")
    assert main(words(place, "--overwrite", "--training.keep", "best", *keys)) == 0
    run = place / "run"
    summary = json.loads((run / "summary.json").read_text())
    training = summary["training"]
    assert (training["kept"], training["validations"]) == ("best", 2)
    assert summary["evaluation"]["top1"] == pytest.approx(training["best_validation"], abs=1e-6)
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert open_model(run).description.provenance["step"] == training["best_step"]
    assert best["global_step"] == training["best_step"]
    kept = load_file(run / "model.safetensors")
    assert all(torch.equal(kept[name], best["polyak"]["state_dict"][name]) for name in kept)
    page = (run / "report.html").read_text()
    assert f"xception trained on the images in {place / 'images'}, evaluated on 4 held-out" in page
    assert f"step {training['best_step']}, best of 2" in capsys.readouterr().out
    assert f"those of step {training['best_step']}, the best of 2 validations" in page


def test_a_fine_tuned_runs_report_begins_with_a_sentence(place, capsys):
    weights = str(place / "run" / "model.safetensors")
    keys = ("--data.root", str(place / "images"), "--data.batch_size", "8")
    short = ("--trainer.max_epochs", "2", "--trainer.accelerator", "cpu")
    output = ("--output", str(place / "tuned"))
    assert main(["train", "finetune", "--model.weights", weights, *keys, *short, *output]) == 0
    told = capsys.readouterr()
    assert "finetune: xception with" in told.out
    assert "16 training images, 4 held out, 2 classes\n" in told.out
    assert "warning" not in told.err
    page = (place / "tuned" / "report.html").read_text()
    assert f"xception fine-tuned from {weights} on the images in {place / 'images'}, eval" in page
    rows = (place / "tuned" / "metrics.csv").read_text().splitlines()
    assert sum(row.split(",")[4] != "" for row in rows[1:]) == 4  # a training row for every step


def test_a_run_that_is_compared_with_another_has_its_images_on_a_changed_folder(place, capsys):
    for seed in range(7):
        save_noise(place / "images" / "cat" / f"-{seed}.png", 100 + seed)
    recipe = load_recipe(str(place / "run"), ["--data.root", str(place / "images")])
    record = read_record(place / "run" / "images.csv")
    run_recipe(recipe, place / "again", record=record)
    first, second = (load_file(place / n / "model.safetensors") for n in ("run", "again"))
    assert all(torch.equal(first[name], second[name]) for name in first | second)
    assert (place / "again" / "images.csv").read_text() == (place / "run/images.csv").read_text()
    assert "7 images came into" in capsys.readouterr().err


def test_every_trial_of_a_search_has_the_images_of_the_first(place, monkeypatch):
    search = place / "search"
    (search / "trials" / "digits-xception").mkdir(parents=True)
    shutil.copytree(place / "run", search / "trials" / "digits-xception" / "trial-000")
    told = []
    monkeypatch.setattr(run, "run_recipe", lambda *_, record, **__: told.append(record))
    monkeypatch.setattr(trials, "_figure", lambda path: 0.5)
    monkeypatch.setattr(trials, "read_trial", lambda *_: None)
    network = trials.open_network("digits-xception", [])
    study = SimpleNamespace(finish=lambda *_: None)
    trials.run_trial(search, network, study, Asked(1, dict.fromkeys(KEYS, 1.0)))
    assert told == [read_record(place / "run" / "images.csv")]
    assert told[0] is not None


def test_bytes_that_lie_in_two_classes_are_told_when_a_run_begins(place, capsys):
    held_out = rows(place, "train")[-1]
    shutil.copy(place / "images" / rows(place, "train")[0], place / "images" / held_out)
    shutil.rmtree(place / "run")
    assert main(words(place, "--trainer.max_steps", "1")) == 0
    assert (
        f"1 image lies in another class, too, with the same bytes ({held_out} is "
        in capsys.readouterr().err
    )
