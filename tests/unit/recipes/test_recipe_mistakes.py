"""Wrong recipes and keys: one clear sentence, exit code 2, nothing written."""

import pytest

from xception.cli.main import main

SENTENCES = {
    "digits-xcepton": r"no recipe 'digits-xcepton'; did you mean 'digits-xception'",
    "digits-xception --optimizer.learning_rat 0.1": r"did you mean 'optimizer.learning_rate'",
    "digits-xception --model.wid 0.5": r"no recipe key 'model.wid'; did you mean 'model.width'",
    "digits-xception --model.width wide": "recipe key 'model.width': expected a float.*wide",
    "digits-xception --model.width=-1": "width=-1.0 is not possible",
    "digits-xception --model.name xceptio": "no 'xceptio'; did you mean 'xception'",
    "digits-xception --model.num_classes 7": "model.num_classes is 7 and the data have 10 classes",
    "digits-xception --model.stem_strides [2,2]": "data.image_size is 32 and xception .* 135",
    "digits-xception --seed": "--seed lacks a value",
    "digits-xception stray": "'stray' is no key",
    "digits-xception --data.batch_size 5000": "1,437 images, fewer than one batch of 5,000",
    "digits-xception --data.name folder --data.root nowhere": "no folder nowhere",
    "digits-xception --optimizer.reference_batch 0": "optimizer.reference_batch must be at least 1",
    "digits-xception --schedule.warmup_epochs=-1": "schedule.warmup_epochs must not be negative",
    "digits-xception --trainer.max_epochs null": "give trainer.max_epochs or trainer.max_steps",
    "digits-xception --trainer.precision half": "recipe key 'trainer.precision'",
    "digits-xception --data.batch_size 0": "data.batch_size is 0",
    "digits-xception --polyak.decay 3": "polyak.decay must be in",
    "digits-xception --training.checkpoint_every_steps 0": "checkpoint_every_steps must be",
    "digits-xception --training.batch_norm_momentum 2": "batch_norm_momentum must be in",
    "digits-xception --trainer.accumulate_grad_batches 5": "does not divide evenly",
    "digits-xception --data.num_workers=-2": "data.num_workers is -2",
    "digits-xception --data.evaluation_batch_size 0": "evaluation batch",
    "digits-xception --optimizer.momentum 5": "optimizer.momentum must be in",
    "digits-xception --optimizer.lr 0.1": "no recipe key 'optimizer.lr'",
    "digits-xception --outpu x": "did you mean 'output'",
    "digits-xception --output /proc/nowhere": "can't use.*/proc/nowhere",
    "digits-xception --resume --overwrite": "choose one",
    "digits-xception --loss.name sigmoid": "each image of these data has a label; .* to softmax",
    "digit-scenes-xception --loss.name softmax --loss.reduction sum": "no recipe key 'loss.reduc",
    "digit-scenes-xception --map.k 11": "k=11 is not between 1 and the number of classes, 10",
    "digit-scenes-xception --map.class_weights nowhere.csv": "cannot read the class weights",
    "jft-xception": "'multi-label' needs data.root",
    "open-images-xception": "Open Images needs to know where it lies",
    "finetune": "name them, e.g. --model.weights",
    "": "which recipe",
}


@pytest.mark.parametrize("words", SENTENCES)
def test_mistake_gets_one_sentence_and_leaves_no_trace(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words.split()]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("xception: error: ")
    assert "\n" not in error
    import re

    assert re.search(SENTENCES[words], error), error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model: {name: xception", "line 1 is not YAML"),
        ("- just\n- a list\n", "must be a mapping"),
        ("model:\n  name: xception\n  widht: 1\n", "did you mean 'model.width'"),
        ("modle:\n  width: 1\n", "no recipe key 'modle.width'; did you mean 'model.width"),
        ("model: 7\n", "'model' must be a mapping"),
        ("seed: many\n", "recipe key 'seed'"),
    ],
)
def test_mistake_in_a_file_is_named(text, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    assert main(["train", "mine.yaml"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "mine.yaml" in error or "key" in error or "'model'" in error
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_images_of_one_class_are_nothing_to_learn(tmp_path, capsys):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    for number in range(4):
        (tmp_path / "images" / "cat" / f"{number}.png").touch()
    images = ("--data.name", "folder", "--data.root", str(tmp_path / "images"))
    run = tmp_path / "run"
    assert main(["train", "digits-xception", *images, "--output", str(run)]) == 2
    assert "a single class, 'cat': there is nothing to tell apart" in capsys.readouterr().err
    assert not run.exists()


def test_another_run_is_not_overwritten(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("seed: 1\n")
    assert main(["train", "digits-xception", "--output", str(run)]) == 2
    assert "holds another run" in capsys.readouterr().err
    assert [path.name for path in run.iterdir()] == ["recipe.yaml"]
