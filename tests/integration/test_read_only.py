"""Commands of a user who may write nowhere: not where the run lies, and not at home."""

import ctypes
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from xception.data.preprocessing import Preprocessing
from xception.export.extras import is_installed
from xception.models.registry import create_model
from xception.weights.files import save_model

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2  # linux/prctl.h, capability.h


def obey_permissions():
    """Takes the right to ignore permissions from what root will execute in this process."""
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise OSError("permissions can't be made to apply to root here")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run's weights, an image and a home, which all may read and nobody may write."""
    folder = tmp_path_factory.mktemp("read-only")
    (folder / "run").mkdir()
    (folder / "home").mkdir()
    torch.manual_seed(0)
    model = create_model("xception", num_classes=2, width=0.125, middle_flow_repeats=1)
    save_model(model, folder / "run" / "model.safetensors", preprocessing=Preprocessing(size=71))
    Image.new("RGB", (80, 80), "red").save(folder / "red.png")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in [folder, folder / "run", folder / "home"]:
        path.chmod(0o755)  # so that they can be deleted


def run(place, *words):
    """As somebody to whom permissions apply, in a directory and with a home without them."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "XCEPTION_", "MPL"))}
    try:
        return subprocess.run(
            [sys.executable, "-m", "xception", *words],
            cwd=place,
            env={**kept, "HOME": str(place / "home"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=obey_permissions if os.geteuid() == 0 else None,
        )
    except subprocess.SubprocessError:  # so the child's error arrives
        pytest.skip("permissions can't be made to apply to root here")


def test_an_engine_works_without_a_place_for_its_conversion_and_says_so_once(place):
    if not is_installed(
        "openvino"
    ):  # it is not imported here: its threads stay out of this process
        pytest.skip("needs openvino")
    done = run(place, "predict", "run", "red.png", "--engine", "openvino")
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "xception: warning: a converted model can't be stored in run/model.safetensors."
        f"engines or in {place / 'home'}/.cache/xception/engines/"
    )
    assert line.endswith("; set XCEPTION_CACHE to a directory that can be written")
    assert done.stdout.startswith("image\tclass\tprobability\terror\nred.png\t")
