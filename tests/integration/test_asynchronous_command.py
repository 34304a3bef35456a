"""``xception train … --asynchronous.workers 3``: the same command, files and report."""

import csv
import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

import xception
from xception.cli.main import main
from xception.distributed.gradient_worker import GradientWorker
from xception.weights.files import open_model

KEYS = {
    "model.width": "0.0625",
    "model.middle_flow_repeats": "1",
    "data.batch_size": "240",  # 1,437 images: five steps to an epoch
    "data.num_workers": "0",
    "optimizer.learning_rate": "0.02",
    "trainer.max_epochs": "2",
    "trainer.log_every_n_steps": "2",
    "asynchronous.engine": "simulator",
    "asynchronous.workers": "3",
    "asynchronous.shards": "2",
    "asynchronous.jitter": "0.4",
}


def train(output, *more, **keys):
    chosen = {key: value for key, value in (KEYS | keys).items() if value is not None}
    words = [word for key, value in chosen.items() for word in (f"--{key}", value)]
    return main(["train", "digits-xception", "--output", str(output), *words, *more])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert train(output) == 0
    return output


def rows(run):
    with (run / "metrics.csv").open() as file:
        found = list(csv.DictReader(file))
    times = ("images_per_second", "elapsed_seconds")
    return [{k: v for k, v in row.items() if k not in times} for row in found]


def test_the_run_has_the_files_of_any_run_and_tells_its_staleness(undisturbed):
    summary = json.loads((undisturbed / "summary.json").read_text())
    training = summary["training"]
    assert (training["steps"], training["epochs"], training["samples"]) == (10, 2, 2400)
    told = training["asynchronous"]
    assert {k: told[k] for k in ("engine", "workers", "shards")} == {
        "engine": "simulator",
        "workers": 3,
        "shards": 2,
    }
    histogram = {int(staleness): updates for staleness, updates in told["staleness"].items()}
    assert sum(histogram.values()) == 10
    mean = sum(staleness * updates for staleness, updates in histogram.items()) / 10
    assert told["mean_staleness"] == pytest.approx(mean)
    assert mean > 1  # three workers
    with (undisturbed / "staleness.csv").open() as file:
        logged = {int(row["staleness"]): int(row["updates"]) for row in csv.DictReader(file)}
    assert logged == histogram
    report = (undisturbed / "report.html").read_text()
    assert "Trained asynchronously (simulator): 3 workers, 2 shards; mean staleness" in report
    assert f"mean staleness {told['mean_staleness']}." in report
    found = rows(undisturbed)
    assert [row["step"] for row in found if row["validation_loss"]] == ["5", "10"]
    assert [row["step"] for row in found if row["train_loss"]] == ["2", "4", "6", "8", "10"]
    assert any((undisturbed / "tensorboard").iterdir())
    assert summary["evaluation"]["images"] == 360


def test_the_weights_file_can_be_evaluated_and_the_recipe_runs_again(undisturbed, tmp_path):
    assert main(["evaluate", str(undisturbed), "digits"]) == 0
    assert main(["train", str(undisturbed), "--output", str(tmp_path / "again")]) == 0
    assert_same_run(tmp_path / "again", undisturbed)


def assert_same_run(one, other):
    first, second = (load_file(run / "model.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert rows(one) == rows(other)
    assert (one / "staleness.csv").read_text() == (other / "staleness.csv").read_text()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)]
)
def test_a_signal_saves_and_resume_ends_as_the_undisturbed_run(
    undisturbed, tmp_path, monkeypatch, capsys, number, code
):
    compute, calls = GradientWorker.compute, []

    def signalling(self, lease, pulled):
        calls.append(lease.number)
        if len(calls) == 7:
            os.kill(os.getpid(), number)
        return compute(self, lease, pulled)

    # A program in a shell's background ignores Ctrl-C, and so would this one.
    undone = signal.signal(number, signal.SIG_DFL)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(GradientWorker, "compute", signalling)
            assert train(tmp_path / "run") == code
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, undone)
    told = capsys.readouterr().err
    assert f"interrupted by {number.name} and saved at step" in told
    assert "--resume" in told
    assert len(calls) < 10
    assert not (tmp_path / "run" / "summary.json").exists()
    assert train(tmp_path / "run", "--resume") == 0
    assert_same_run(tmp_path / "run", undisturbed)


def test_resuming_a_finished_run_does_nothing(undisturbed):
    before = (undisturbed / "summary.json").stat().st_mtime_ns
    assert train(undisturbed, "--resume") == 0
    assert (undisturbed / "summary.json").stat().st_mtime_ns == before


def test_resume_does_not_change_the_number_of_workers(undisturbed, capsys):
    (undisturbed / "summary.json").rename(undisturbed / "kept.json")
    try:
        assert train(undisturbed, "--resume", **{"asynchronous.workers": "4"}) == 2
    finally:
        (undisturbed / "kept.json").rename(undisturbed / "summary.json")
    assert "asynchronous.workers is 3 there and 4 here" in capsys.readouterr().err


def test_a_checkpoint_of_a_synchronous_run_is_no_snapshot(tmp_path, capsys):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": {}, "global_step": 3}, run / "checkpoints" / "last.ckpt")
    (run / "recipe.yaml").write_text("{}")
    stored = tmp_path / "other"
    assert train(stored, **{"trainer.max_steps": "1"}) == 0
    (run / "recipe.yaml").write_text((stored / "recipe.yaml").read_text())
    assert train(run, "--resume", **{"trainer.max_steps": "1"}) == 2
    assert "is no snapshot of an asynchronous run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"asynchronous.workers": "-1"}, "asynchronous.workers is -1; it must be at least 0"),
        ({"asynchronous.shards": "0"}, "asynchronous.shards is 0; it must be at least 1"),
        ({"asynchronous.shards": "99999999"}, "at most the number of trained parameters"),
        ({"asynchronous.max_staleness": "-1"}, "asynchronous.max_staleness is -1"),
        ({"asynchronous.jitter": "5"}, "asynchronous.jitter is 5.0; it must be at most 2.0"),
        ({"asynchronous.jitter": "-1"}, "asynchronous.jitter is -1.0; it must be at least 0"),
        ({"asynchronous.lease_seconds": "0"}, "asynchronous.lease_seconds is 0.0"),
        ({"asynchronous.gpus_per_worker": "2"}, "a worker has one GPU, or none"),
        ({"asynchronous.engine": "threads"}, "asynchronous.engine"),
        ({"asynchronous.when_stale": "ignore"}, "asynchronous.when_stale"),
        ({"asynchronous.worker": "2"}, "did you mean 'asynchronous.workers'?"),
        ({"trainer.precision": "bf16-mixed"}, "trainer.precision is 'bf16-mixed', which async"),
        ({"trainer.accumulate_grad_batches": "2"}, "trainer.accumulate_grad_batches is 2, which"),
        ({"trainer.gradient_clip_val": "1.0"}, "trainer.gradient_clip_val is 1.0, which"),
        ({"trainer.max_time": "00:01:00:00"}, "trainer.max_time is"),
        ({"trainer.devices": "2"}, "trainer.devices is '2', which"),
        ({"trainer.accelerator": "gpu"}, "asynchronous.gpus_per_worker"),
    ],
)
def test_a_wrong_key_is_one_sentence_and_nothing_is_written(tmp_path, capsys, keys, sentence):
    assert train(tmp_path / "run", **keys) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_under_torchrun_it_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert train(tmp_path / "run") == 2
    assert "starts its own workers" in capsys.readouterr().err


def test_diverging_ends_in_one_sentence(tmp_path, capsys):
    assert train(tmp_path / "run", **{"optimizer.learning_rate": "1e30"}) == 3
    told = capsys.readouterr().err.strip()
    assert "was not finite 5 times in a row" in told
    assert told.endswith("go on with --resume, or lower optimizer.learning_rate in a new run")
    assert "\n" not in told


def test_a_snapshot_is_a_checkpoint_with_averaged_and_raw_weights(undisturbed):
    snapshot = undisturbed / "checkpoints" / "last.ckpt"
    averaged = xception.load_model(snapshot).state_dict()
    final = load_file(undisturbed / "model.safetensors")
    assert averaged.keys() == final.keys()
    assert all(torch.equal(averaged[name], final[name]) for name in final)
    raw = open_model(snapshot, weights="raw").model.state_dict()
    assert not torch.equal(raw["head.classifier.weight"], final["head.classifier.weight"])
    content = torch.load(snapshot, weights_only=True)
    values = torch.cat([shard["values"]["parameters"] for shard in content["shards"]])
    # Its last tensor is the classifier's bias, 10 numbers.
    assert torch.equal(raw["head.classifier.bias"], values[-10:])
    assert main(["evaluate", str(undisturbed), "digits", "--weights", "raw"]) == 0


def test_several_labels_rmsprop_and_evaluation_every_two_steps_are_as_in_synchronous_training(
    tmp_path,
):
    words = {
        "model.width": "0.0625",
        "model.middle_flow_repeats": "1",
        "data.num_workers": "0",
        "optimizer.name": "rmsprop",
        "optimizer.learning_rate": "0.01",
        "trainer.max_steps": "5",
        "trainer.val_check_interval": "2",
        "trainer.check_val_every_n_epoch": "null",
        "trainer.log_every_n_steps": "1",
    }
    keys = [word for key, value in words.items() for word in (f"--{key}", value)]
    for workers in ("0", "1"):
        extra = ["--asynchronous.workers", workers, "--asynchronous.engine", "simulator"]
        output = str(tmp_path / workers)
        assert main(["train", "digit-scenes-xception", "--output", output, *keys, *extra]) == 0
    one, other = tmp_path / "0", tmp_path / "1"
    first, second = (load_file(run / "model.safetensors") for run in (one, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert rows(one) == rows(other)
    assert [row["step"] for row in rows(other) if row["validation_map"]] == ["2", "4"]
