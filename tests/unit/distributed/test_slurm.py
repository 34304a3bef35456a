"""The SLURM script: what it asks for, and when it puts itself back into the queue."""

import os
import subprocess

import pytest

from xception.cli.main import main
from xception.distributed.slurm import SlurmJob, slurm_script
from xception.errors import InputError
from xception.training.interruption import RunInterrupted


def run_script(tmp_path, code):
    """Runs it with stand-ins for srun, which ends with a code, and scontrol, which takes notes."""
    script, notes = tmp_path / "job.slurm", tmp_path / "notes"
    script.write_text(slurm_script(SlurmJob("a run"), ["train", "it's here", "--resume"]))
    for name, text in (
        ("srun", f'printf "%s\\n" "$@" > {notes}.srun; exit {code}'),
        ("scontrol", f'echo "$@" > {notes}.scontrol'),
    ):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
    done = subprocess.run(["bash", str(script)], env=environment, timeout=60)
    words = (tmp_path / "notes.srun").read_text().splitlines()
    requeued = tmp_path / "notes.scontrol"
    return done.returncode, words, requeued.read_text() if requeued.exists() else None


def test_a_run_whose_time_is_up_is_requeued(tmp_path):
    import signal

    code = RunInterrupted(signal.SIGUSR1, 3).exit_code
    returned, words, requeued = run_script(tmp_path, code)
    assert returned == 0
    assert requeued == "requeue 17\n"
    assert words == ["--cpus-per-task=8", "train", "it's here", "--resume"]


@pytest.mark.parametrize("code", [0, 2, 3, 130, 143])
def test_a_run_that_ended_otherwise_is_not_requeued(tmp_path, code):
    assert run_script(tmp_path, code)[::2] == (code, None)


def test_the_script_says_that_no_cluster_has_seen_it():
    text = slurm_script(SlurmJob("a b", nodes=3, gpus_per_node=4, partition="big"), ["x"])
    assert "NOT VERIFIED ON A CLUSTER" in text
    lines = text.splitlines()
    for line in ("nodes=3", "ntasks-per-node=4", "gpus-per-node=4", "signal=USR1@180", "requeue"):
        assert f"#SBATCH --{line}" in lines
    assert "#SBATCH --partition=big" in lines
    assert "#SBATCH --job-name=xception-a-b" in lines
    first_command = next(i for i, line in enumerate(lines) if line and line[0] != "#")
    assert all(not line.startswith("#SBATCH") for line in lines[first_command:])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"nodes": 0}, "--nodes is 0"),
        ({"gpus_per_node": -1}, "--gpus-per-node is -1"),
        ({"time": "soon"}, "--time is 'soon'"),
        ({"partition": "a\n#SBATCH --uid=0"}, "--partition is"),
    ],
)
def test_values_out_of_range_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        SlurmJob("run", **keys)


def test_the_command_writes_a_script_once(tmp_path, capsys):
    words = ["train", "digits-xception", "--launcher", "slurm", "--nodes", "2"]
    words += ["--output", str(tmp_path / "run"), "--data.batch_size", "240"]
    assert main(words) == 0
    text = (tmp_path / "run.slurm").read_text()
    assert "train digits-xception --output" in text
    assert "--resume --data.batch_size 240 --trainer.num_nodes 2 --trainer.devices 8" in text
    assert not (tmp_path / "run").exists()
    assert main(words) == 2  # it is there already
    assert main([*words, "--overwrite"]) == 2
    assert main([*words, "--trainer.devices", "3"]) == 2
    assert (tmp_path / "run.slurm").read_text() == text
    capsys.readouterr()
