"""Synchronous data parallelism on two processes against one process that does it by hand.

And the same run started by torchrun, with a process that is killed.

As in the paper, every replica normalises its own half of the batch; the moving statistics are those
of the first replica (TF-Slim's way, and DistributedDataParallel's); gradients are averaged.
"""

import csv
import os
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

KEYS = {
    "model.width": "0.125",
    "model.middle_flow_repeats": "1",
    "model.dropout": "0.5",
    "data.batch_size": "240",
    "trainer.max_epochs": "2",
    "trainer.log_every_n_steps": "1",
    "trainer.accelerator": "cpu",
    "training.checkpoint_every_steps": "2",
}
WORDS = [word for key, value in KEYS.items() for word in (f"--{key}", value)]


def train(output, *more):
    words = ["train", "digits-xception", "--output", str(output), *WORDS, *more]
    done = subprocess.run(
        [sys.executable, "-m", "xception", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def by_hand():
    """Weights, averaged weights and training losses of the same run in plain PyTorch."""
    from xception.data.loading import TrainingLoader
    from xception.recipes.build import build_classifier, build_data, build_model
    from xception.recipes.load import load_recipe
    from xception.training.optimizers import set_learning_rate
    from xception.training.polyak import PolyakAverage

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    recipe = load_recipe("digits-xception", WORDS)
    data = build_data(recipe)
    model = build_model(recipe, data).train()
    classifier = build_classifier(recipe, data, model)
    model = classifier.model  # channels last
    optimizer = classifier.configure_optimizers()
    average = PolyakAverage(recipe.keys["polyak"]["decay"])
    average.start(model.state_dict())
    losses, step = [], 0
    for epoch in range(2):
        loaders = [
            iter(
                TrainingLoader(
                    data.train_source,
                    data.transform,
                    batch_size=240,
                    seed=recipe.keys["seed"],
                    world_size=2,
                    rank=rank,
                    samples_seen=epoch * data.steps_per_epoch * 240,
                )
            )
            for rank in (0, 1)
        ]
        for halves in zip(*loaders, strict=True):
            set_learning_rate(optimizer, classifier.current_learning_rate(step))
            optimizer.zero_grad()
            pair = []
            for rank, half in enumerate(halves):
                statistics = {name: value.clone() for name, value in model.named_buffers()}
                torch.manual_seed(hash((recipe.keys["seed"], step, rank)) & (2**63 - 1))
                loss = classifier.loss(classifier(half.images), half.labels)
                (loss / 2).backward()
                pair.append(loss.item())
                if rank == 0:
                    first = {name: value.clone() for name, value in model.named_buffers()}
                for name, value in model.named_buffers():
                    value.copy_(statistics[name] if rank == 0 else first[name])
            optimizer.step()
            average.update(model.state_dict())
            losses.append(sum(pair) / 2)
            step += 1
    torch.set_num_threads(threads)
    return model.state_dict(), average.average, losses


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    output = tmp_path_factory.mktemp("two") / "run"
    train(output, "--trainer.devices", "2", "--trainer.strategy", "ddp")
    return output


def test_two_processes_give_the_weights_of_the_hand_written_step(by_hand, two_processes):
    weights, average, _ = by_hand
    saved = load_file(two_processes / "model.safetensors")
    checkpoint = torch.load(two_processes / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved.keys() == average.keys()
    for name, expected in average.items():
        # The same operations; only the sums inside the allreduce may be ordered otherwise.
        torch.testing.assert_close(saved[name], expected, rtol=1e-5, atol=1e-6, msg=name)
        torch.testing.assert_close(
            checkpoint["state_dict"][f"model.{name}"], weights[name], rtol=1e-5, atol=1e-6, msg=name
        )


def test_two_processes_log_the_mean_loss_of_both_and_count_every_image_once(
    by_hand, two_processes, tmp_path
):
    _, _, losses = by_hand
    with (two_processes / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    logged = [float(row["train_loss"]) for row in rows if row["train_loss"]]
    assert logged == pytest.approx(losses, rel=1e-5)
    assert all(int(a["step"]) <= int(b["step"]) for a, b in pairwise(rows))
    # The final evaluation is one process's; the validation of the last epoch was two processes'.
    import json

    final = json.loads((two_processes / "summary.json").read_text())["evaluation"]
    validation = [row for row in rows if row["validation_top1"]][-1]
    assert final["images"] == 360
    assert float(validation["validation_top1"]) == pytest.approx(final["top1"], abs=1e-6)
    assert float(validation["validation_loss"]) == pytest.approx(final["loss"], rel=1e-5)


def test_two_processes_differ_from_one_that_normalises_the_whole_batch(two_processes, tmp_path):
    """Shows that the test above can tell the two apart."""
    train(tmp_path / "run")
    one = load_file(tmp_path / "run" / "model.safetensors")
    two = load_file(two_processes / "model.safetensors")
    name = "entry_flow.conv1.conv.weight"
    assert not torch.allclose(one[name], two[name], rtol=1e-3, atol=1e-4)


KILLED_ONCE = """
import os, signal, sys, time
from xception.training.classifier import Classifier

training_step = Classifier.training_step
def until_killed(self, batch, batch_idx):
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if first and os.environ["RANK"] == "1" and self.trainer.global_step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return training_step(self, batch, batch_idx)
Classifier.training_step = until_killed

if __name__ == "__main__":
    from xception.cli.main import main
    if os.environ["TORCHELASTIC_RESTART_COUNT"] != "0" and os.environ["RANK"] == "1":
        # The other one looks for this one's address meanwhile: not for that of the killed one.
        time.sleep(5)
    sys.exit(main(sys.argv[1:]))
"""


def assert_same_weights(one, other):
    """Averaged and raw weights and optimizer state: equal to the last bit."""
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first | second)
    first, second = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (one, other)
    )
    assert first["global_step"] == second["global_step"] == 10
    states = [content["state_dict"] for content in (first, second)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0] | states[1])
    momenta = [content["optimizer_states"][0]["state"] for content in (first, second)]
    for key, state in momenta[0].items():
        assert torch.equal(state["momentum_buffer"], momenta[1][key]["momentum_buffer"])


def test_torchrun_restarts_a_killed_process_and_the_run_ends_the_same(two_processes, tmp_path):
    program, output = tmp_path / "killed_once.py", tmp_path / "run"
    program.write_text(KILLED_ONCE)
    command = ["--nnodes=1", "--nproc-per-node=2", "--max-restarts=3", "--rdzv-backend=c10d"]
    command += ["--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1", str(program)]
    command += ["train", "digits-xception", "--output", str(output), *WORDS]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *command, "--trainer.devices", "2"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )
    assert done.returncode == 0, done.stderr
    assert "Connection refused" not in done.stderr
    assert "going on from" in done.stdout  # the restart has found the checkpoint of step 6
    assert "Signal 9 (SIGKILL)" in done.stderr or "exitcode: -9" in done.stderr
    assert_same_weights(two_processes, output)
