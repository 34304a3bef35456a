"""The GPU benchmark runs from end to end (tiny, on the CPU); without a GPU it says so."""

import os
import subprocess
import sys

import pytest
import torch


def run(*arguments):
    command = [sys.executable, "-m", "xception", "benchmark", "kernels", *arguments]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=one_thread, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_smoke_run_writes_all_tables(tmp_path):
    done = run("--smoke", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.iterdir()
    text = report.read_text()
    for heading in ("Checks", "Kernels, batch", "Training, batch", "Inference, batch 1"):
        assert f"## {heading}" in text
    assert "Error" not in text


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    done = run("--output", str(tmp_path))
    assert done.returncode == 2
    assert "this benchmark needs a CUDA GPU" in done.stderr
    assert not list(tmp_path.iterdir())
