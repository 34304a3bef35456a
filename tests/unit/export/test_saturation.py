"""8-bit sums in a process held to AVX2, where pairs of products are added in 16 bits."""

import importlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from xception.data.preprocessing import Preprocessing
from xception.export.calibration import make_calibration
from xception.export.conversion import example_images, to_openvino, write_openvino
from xception.export.processor import cpu_flags, products_saturate
from xception.export.quantisation import quantise_openvino

pytest.importorskip("openvino")
pytest.importorskip("nncf")

ROOT = Path(__file__).parents[3]
CHANNELS, SIZE = 64, 8
RUN = """
import sys, numpy, openvino
core = openvino.Core()
for path in sys.argv[1:]:
    model = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    print(float(model(numpy.ones((1, 3, 8, 8), "float32"))[0].mean()))
"""


@pytest.fixture(scope="module")
def averages(tmp_path_factory):
    """Two files, of 8 and of 7 bits: of a white image, which is 1 everywhere, they compute 1."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, CHANNELS, 1), torch.nn.ReLU(), torch.nn.Conv2d(CHANNELS, CHANNELS, 1)
    )
    for convolution in (network[0], network[2]):
        torch.nn.init.constant_(convolution.weight, 1 / convolution.in_channels)
        torch.nn.init.zeros_(convolution.bias)
    image = torch.full((3, SIZE, SIZE), 255, dtype=torch.uint8)
    image[:, :, 0] = 0  # one column is black: nncf averages the images' smallest and largest values
    images = [image] * 10
    calibration = make_calibration(images, "white, a column black")
    paths = []
    for bits in (8, 7):
        folder = tmp_path_factory.mktemp(f"bits{bits}")
        model = to_openvino(network.eval(), example_images(SIZE))
        scale = Preprocessing(size=SIZE).normalize
        quantised = quantise_openvino(model, calibration, scale, bits)
        write_openvino(quantised, folder / "model.xml")
        paths.append(str(folder / "model.xml"))
    return paths


def run(paths, environment):
    told = subprocess.run(
        [sys.executable, "-c", RUN, *paths],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(line) for line in told.stdout.split()]


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """The environment of a process that is held to AVX2."""
    pytest.importorskip("capstone")
    version = tuple(int(part) for part in (platform.libc_ver()[1] or "0").split("."))
    if sys.platform != "linux" or platform.machine() != "x86_64" or version < (2, 35):
        pytest.skip("only Linux on x86-64 with glibc 2.35 can be held to AVX2")
    if not shutil.which("cc") or not shutil.which("g++"):
        pytest.skip("needs a C compiler")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        tool = importlib.import_module("hold_to_avx2")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return tool.restricted_environment(tmp_path_factory.mktemp("avx2"), ["openvino"])


def test_without_the_guard_sums_saturate_on_avx2_and_with_it_they_do_not(averages, held):
    eight, seven = run(averages, held)
    # 255 · 127 + 255 · 127 = 64,770 becomes 32,767, about half of it, in each of the two layers;
    # 255 · 64 + 255 · 64 = 32,640 fits.
    if not products_saturate(cpu_flags()):  # else nncf has corrected what it saw saturate
        assert eight < 0.7
    assert seven == pytest.approx(1, abs=0.03)  # a step of 1/64 of a weight, of 1/255 of a map


def test_the_guard_changes_nothing_where_sums_have_32_bits(averages):
    if products_saturate(cpu_flags()):
        pytest.skip("needs a processor with VNNI")
    assert run(averages, {}) == pytest.approx([1, 1], abs=0.03)
