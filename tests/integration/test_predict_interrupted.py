"""Ctrl-C, SIGTERM and the end of a terminal while a prediction of many images is written."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from xception import create_model
from xception.data.preprocessing import Preprocessing
from xception.weights.files import save_model

IMAGES = 20_000  # far more than are classified before the signal


@pytest.mark.parametrize(
    ("sent", "workers", "code", "word"),
    [
        # By the signal, as a shell expects it: a loop around the command ends too.
        (signal.SIGINT, 0, -signal.SIGINT, "interrupted"),
        (signal.SIGINT, 2, -signal.SIGINT, "interrupted"),
        (signal.SIGTERM, 0, 143, "terminated"),
        (signal.SIGTERM, 2, 143, "terminated"),
        (signal.SIGHUP, 2, 129, "ended, since its terminal was closed"),
    ],
)
def test_stopped_prediction_leaves_no_file_and_says_so(tmp_path, sent, workers, code, word):
    torch.manual_seed(0)
    model = create_model(
        "xception", num_classes=3, width=0.125, middle_flow_repeats=0, stem_strides=(1, 1)
    )
    save_model(model, tmp_path / "model.safetensors", preprocessing=Preprocessing(size=64))
    folder = tmp_path / "many"
    folder.mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "first.png")
    for number in range(IMAGES):
        os.link(folder / "first.png", folder / f"{number}.png")
    words = ["predict", "model.safetensors", "many", "--output", "out.csv"]
    process = subprocess.Popen(
        [sys.executable, "-m", "xception", *words, "--num-workers", str(workers)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    partial = tmp_path / ".out.csv.partial"
    while not (partial.exists() and partial.stat().st_size > 1000):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    # On a machine of one core PyTorch warns of the two loader processes before.
    assert err.splitlines()[-1] == f"xception: error: {word}"
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many", "model.safetensors"]
