"""``--launcher ray``: the same run on a Ray cluster, in a network namespace with loopback only."""

import pytest
import torch
from loopback import needs_namespace, run_alone
from safetensors.torch import load_file

pytest.importorskip("ray")
KEYS = "--model.width 0.125 --model.middle_flow_repeats 1 --data.batch_size 240 "
KEYS += "--trainer.max_epochs 2 --trainer.accelerator cpu --training.checkpoint_every_steps 2"
TRAIN = ["-m", "xception", "train", "digits-xception"]


def alone(words, log):
    return run_alone([*TRAIN, *words], log, seconds=500)


@needs_namespace
@pytest.mark.slow
def test_a_ray_cluster_trains_to_the_weights_of_two_processes_without_one(tmp_path):
    plain, ray = tmp_path / "plain", tmp_path / "ray"
    words = ["--output", str(plain), *KEYS.split(), "--trainer.devices", "2"]
    code, told = alone([*words, "--trainer.strategy", "ddp"], tmp_path / "log")
    assert code == 0, told
    words = ["--launcher", "ray", "--workers", "2", "--output", str(ray), *KEYS.split()]
    code, told = alone(words, tmp_path / "log")
    assert code == 0, told
    one, other = (load_file(run / "model.safetensors") for run in (plain, ray))
    assert all(torch.equal(one[name], other[name]) for name in one | other)


@needs_namespace
@pytest.mark.slow
def test_fewer_resources_than_asked_for_are_told_and_nothing_is_written(tmp_path):
    words = ["--launcher", "ray", "--workers", "9999", "--output", str(tmp_path / "run")]
    code, told = alone([*words, *KEYS.split()], tmp_path / "log")
    assert code == 2
    assert "for 9,999 workers it needs 9,999 CPU; ask for fewer --workers" in told
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()
