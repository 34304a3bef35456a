import io
import json

import numpy as np
import pytest
import torch
from labelled_pictures import CLASSES, COUNT, LABELS
from PIL import Image

from xception import create_model
from xception.cli.main import main
from xception.data.digits import open_digits
from xception.data.preprocessing import Preprocessing
from xception.weights.files import save_model


@pytest.fixture
def command(capsys):
    """Runs one command line in this process: exit code, standard output, standard error."""

    def run(*words):
        code = main([str(word) for word in words])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return code, told.out, told.err

    return run


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A file with random weights for the ten digits."""
    torch.manual_seed(0)
    model = create_model(
        "xception", num_classes=10, width=0.125, middle_flow_repeats=0, stem_strides=(1, 1)
    )
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(
        model,
        path,
        class_names=[str(digit) for digit in range(10)],
        preprocessing=Preprocessing(size=32, crop_fraction=1.0),
    )
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Forty held-out scans in folders named after the digits, unpacked."""
    source = open_digits("evaluation")
    folder = tmp_path_factory.mktemp("digits")
    for digit in range(10):
        (folder / str(digit)).mkdir()
        for index in np.flatnonzero(source.labels == digit)[:4]:
            pixels = source[int(index)][0].permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(folder / str(digit) / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights with a head that tells images apart, in a folder of its own."""
    torch.manual_seed(0)
    network = create_model(
        "xception", num_classes=10, width=0.0625, middle_flow_repeats=0, stem_strides=(1, 1)
    )
    scans = open_digits("evaluation").images[:64]
    preprocessing = Preprocessing(size=32, crop_fraction=1.0)
    with torch.no_grad():
        for _ in range(40):  # the running statistics settle at those of the scans
            network(preprocessing.normalize(scans))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    names = [str(digit) for digit in range(10)]
    save_model(network.eval(), path, class_names=names, preprocessing=preprocessing)
    return path


@pytest.fixture
def pictures(tmp_path):
    """Two images, and an empty, a cut and a false one."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("a [bold].png", "b.jpg"):
        pixels = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    encoded = io.BytesIO()
    Image.new("RGB", (60, 60), "red").save(encoded, "JPEG")
    (folder / "cut.jpg").write_bytes(encoded.getvalue()[:200])
    (folder / "text.jpg").write_text("no image")
    (folder / "zero.jpg").touch()
    return folder


@pytest.fixture
def table(tmp_path):
    """Eleven noisy pictures, a JPEG among them, in a label table with weights."""
    folder = tmp_path / "table"
    folder.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for i in range(COUNT):
        name = f"{i}.jpg" if i == 4 else f"{i}.png"
        Image.fromarray(generator.integers(0, 256, (20 + i, 24, 3), dtype=np.uint8)).save(
            folder / name
        )
        rows.append({"image": name, "labels": LABELS[i], "weights": [1.0 + i] * len(LABELS[i])})
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def pack(command, table, tmp_path):
    """Packs the table's pictures, four to a shard; returns the folder of shards."""

    def packed(*more, target="shards", code=0):
        words = ["data", "pack", table / "train.jsonl", tmp_path / target, "--from", "table"]
        found = command(*words, "--images-per-shard", 4, "--workers", 1, *more)
        assert found[0] == code, found
        return tmp_path / target

    return packed
