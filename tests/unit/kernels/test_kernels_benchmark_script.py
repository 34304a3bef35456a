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
    kernels = {row["kernel"] for row in found["kernels, batch 2"]}
    assert kernels >= {"depthwise", "depthwise backward", "pointwise", "separable", "pool"}
    networks = [row["name"] for row in found["training, batch 2"]]
    assert networks == [f"{name}, eager" for name in NAMES]
    assert all(row["images_per_second"] > 0 for row in found["inference, batch 1"])
    assert picture.stat().st_size > 10_000
    (report,) = results.iterdir()
    text = report.read_text()
    for heading in ("Checks", "Kernels, batch", "Training, batch", "Inference, batch 1"):
        assert f"## {heading}" in text
    assert "Error" not in text


@pytest.mark.slow
def test_a_killed_run_loses_the_row_in_work_and_the_next_goes_on(tmp_path):
    command = [sys.executable, "-m", "xception", "benchmark", "kernels", "--smoke"]
    command += ["--output", str(tmp_path)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in first.stdout:
        if "depthwise backward, 3x3" in line:  # in the middle of the third part
            first.kill()
            break
    first.wait()
    (figures,) = tmp_path.glob("*.json")
    before = json.loads(figures.read_text())
    assert len(before["kernels, batch 2"]) >= 5
    (report,) = tmp_path.glob("*.md")
    assert "## Inference, batch 1" in report.read_text()
    done = run("--smoke", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "checks:" not in done.stdout
    after = json.loads(figures.read_text())
    for table in ("checks", "training, batch 2", "inference, batch 2", "inference, batch 1"):
        assert after[table] == before[table]
    names = [row["name"] for row in before["kernels, batch 2"]]
    kept = [row for row in after["kernels, batch 2"] if row["name"] in names]
    assert kept == before["kernels, batch 2"]
    assert "pool backward, 3x3, 1024" in {row["name"] for row in after["kernels, batch 2"]}


# What a machine with a GPU may lack: the benchmark needs PyTorch, torchvision and Triton.
LACKING = ["jsonargparse", "torchcodec", "simplejpeg", "lightning", "timm", "rich", "matplotlib"]


@pytest.mark.slow
def test_it_needs_no_other_package(tmp_path):
    program = f"""
import sys

class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {LACKING}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Lacking())
from xception.cli.main import main
sys.exit(main(["benchmark", "kernels", "--smoke", "--output", {str(tmp_path)!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.glob("*.md")
    assert "| timm inception_v3, eager | ModuleNotFoundError: No module named 'timm' |" in (
        report.read_text()
    )


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    done = run("--output", str(tmp_path))
    assert done.returncode == 2
    assert "this benchmark needs a CUDA GPU" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["--only", "speed"], ["--onyl", "kernels"]])
def test_wrong_options_are_named(words):
    from xception.benchmark.kernels import parse
    from xception.errors import InputError

    with pytest.raises(InputError, match=words[1] if words[0] == "--only" else words[0]):
        parse(words)
