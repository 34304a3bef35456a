"""The GPU benchmark runs from end to end (tiny, on the CPU); without a GPU it says so."""

import json
import os
import subprocess
import sys

import pytest
import torch

from xception.benchmark.kernels_models import NAMES


def run(*arguments):
    command = [sys.executable, "-m", "xception", "benchmark", "kernels", *arguments]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=one_thread, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_smoke_run_writes_all_tables(tmp_path):
    figures, picture = tmp_path / "x.json", tmp_path / "x.png"
    results = tmp_path / "results"
    words = ["--smoke", "--output", results, "--json", figures, "--plot", picture]
    done = run(*map(str, words))
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert found["paper_ratio"] == 28 / 31
    assert {row["kernel"] for row in found["kernels"]} >= {"depthwise", "pointwise", "pool"}
    networks = [row["network"] for row in found["training, batch 2"]]
    assert networks == [f"{name}, eager" for name in NAMES]
    assert all(row["images_per_second"] > 0 for row in found["inference, batch 1"])
    assert picture.stat().st_size > 10_000
    (report,) = results.iterdir()
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
