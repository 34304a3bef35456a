"""A run on packed shards of which it holds out a share: best weights, resumption, evaluation."""

import json
import shutil

import torch
from noise_pictures import write_pictures
from safetensors.torch import load_file

from xception.cli.main import main

KEYS = {
    "model.width": "0.125",
    "model.middle_flow_repeats": "1",
    "data.name": "folder",
    "data.validation_fraction": "0.2",
    "data.batch_size": "8",
    "data.num_workers": "0",
    "training.keep": "best",
    "trainer.max_epochs": "2",
    "trainer.accelerator": "cpu",
    "trainer.logger": "false",
}


def test_a_packed_run_goes_on_exactly_and_is_evaluated_on_what_it_held_out(tmp_path, capsys):
    write_pictures(tmp_path / "images", 10)
    shards = tmp_path / "shards"
    pack = ["data", "pack", str(tmp_path / "images"), str(shards), "--from", "folder"]
    assert main([*pack, "--workers", "1"]) == 0
    words = [word for key, value in KEYS.items() for word in (f"--{key}", value)]
    run, killed = tmp_path / "run", tmp_path / "killed"
    assert (
        main(["train", "digits-xception", "--output", str(run), "--data.root", str(shards), *words])
        == 0
    )
    rows = (run / "images.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["table", "manifest.json"]]

    shutil.copytree(run, killed)
    (killed / "checkpoints" / "previous.ckpt").replace(killed / "checkpoints" / "last.ckpt")
    for name in ("summary.json", "model.safetensors"):
        (killed / name).unlink()
    assert main(["train", str(killed), "--resume"]) == 0
    first, second = (load_file(place / "model.safetensors") for place in (run, killed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    told = [json.loads((place / "summary.json").read_text()) for place in (run, killed)]
    assert told[0]["evaluation"] == told[1]["evaluation"]
    assert told[0]["training"]["kept"] == "best"

    capsys.readouterr()
    assert main(["evaluate", str(run), str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = told[0]["evaluation"]
    assert (found["images"], found["loss"]) == (expected["images"], expected["loss"])

    shutil.rmtree(shards)
    (tmp_path / "images" / "cat" / "0.png").unlink()
    assert main([*pack, "--workers", "1"]) == 0
    assert main(["evaluate", str(run), str(run)]) == 2
    assert "manifest.json is gone or has changed" in capsys.readouterr().err
