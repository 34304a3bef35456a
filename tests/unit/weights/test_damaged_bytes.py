"""Random damage to a file's bytes: one InputError or a model, never another exception."""

import contextlib
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from xception.errors import InputError
from xception.weights.containers import first_line
from xception.weights.files import open_model, save_model
from xception.weights.keras_hdf5 import KerasFile, KerasLayer, numbered, read_keras_file
from xception.weights.keras_xception import xception_from_keras
from xception.weights.xception_layout import LAYERS

SEEDS = 60


def damage(whole, seed, start=0):
    """Replaces one to eight neighbouring bytes from ``start`` on."""
    chance = random.Random(seed)
    position = chance.randrange(start, len(whole))
    replacement = chance.randbytes(chance.randint(1, 8))
    return (whole[:position] + replacement + whole[position + len(replacement) :])[: len(whole)]


def count_refused(read, path, whole, start=0, seeds=SEEDS):
    refused = 0
    for seed in range(seeds):
        path.write_bytes(damage(whole, seed, start))
        try:
            read(path)
        except InputError:
            refused += 1
    return refused


@pytest.mark.parametrize("zipped", [True, False])
def test_pth_files_with_damaged_tails(zipped, tmp_path):
    path = tmp_path / "a.pth"
    state = {f"layer{i}.weight": torch.ones(4) for i in range(6)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    refused = count_refused(open_model, path, whole, len(whole) // 2, 4 * SEEDS)
    assert refused == 4 * SEEDS  # undamaged, it is of no known network


def test_names_in_an_archives_directory_that_are_no_text(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.ones(4)}, path)
    whole = bytearray(path.read_bytes())
    directory = whole.rindex(b"PK\x01\x02")
    whole[directory + 9] |= 0x08  # the name is UTF-8, it says
    whole[directory + 46] = 0xFF
    path.write_bytes(whole)
    with pytest.raises(UnicodeDecodeError):
        zipfile.ZipFile(path)
    with pytest.raises(InputError, match=r"a\.pth is truncated or damaged \("):
        open_model(path)


def test_an_archive_without_its_directory(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.ones(4)}, path)
    whole = bytearray(path.read_bytes())
    whole[whole.rindex(b"PK\x01\x02") + 1] = 0
    path.write_bytes(whole)
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(path)
    with pytest.raises(InputError, match=r"a\.pth is truncated or damaged \("):
        open_model(path)


def test_our_files_with_damaged_headers(model, tmp_path):
    path = tmp_path / "a.safetensors"
    save_model(model, path)
    whole = path.read_bytes()
    for seed in range(SEEDS):
        path.write_bytes(damage(whole[:2000], seed) + whole[2000:])
        with contextlib.suppress(InputError):
            open_model(path)


@pytest.mark.parametrize("version", [1, 3])
def test_keras_files(version, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        if version == 1:
            file.attrs["layer_names"] = [b"conv_1", b"norm_1", b"dense_1"]
            for layer in ("conv_1", "norm_1", "dense_1"):
                file.create_group(layer).attrs["weight_names"] = [f"{layer}_W".encode()]
                file[layer][f"{layer}_W"] = [[0.5] * 4] * 4
        else:
            for layer in ("conv2d", "conv2d_1", "dense"):
                variables = file.create_group(f"layers/{layer}/vars")
                variables.attrs["name"] = layer
                variables["0"] = [[0.5] * 4] * 4
    assert len(read_keras_file(path).layers) == 3
    whole = path.read_bytes()
    assert 0 < count_refused(read_keras_file, path, whole, seeds=8 * SEEDS) < 8 * SEEDS


def test_an_exception_without_a_message_is_told_by_its_kind():
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("\n")) == "ValueError"
    assert first_line(ValueError("one\ntwo")) == "one"


@pytest.mark.parametrize("failure", [ValueError(), TypeError("x"), IndexError(), RuntimeError("")])
def test_whatever_reading_raises_is_an_input_error(failure, monkeypatch, tmp_path):
    h5py = pytest.importorskip("h5py")
    h5py.File(tmp_path / "a.h5", "w").close()

    def fail(*_):
        raise failure

    monkeypatch.setattr("xception.weights.keras_hdf5._read_hdf5", fail)
    with pytest.raises(InputError, match="truncated or no Keras file") as error:
        read_keras_file(tmp_path / "a.h5")
    assert error.value.__cause__ is failure


def test_names_of_any_characters_are_split():
    assert numbered("a\n_3") == ("a\n", 3)
    assert numbered("a_" + "9" * 5000)[1] in (0, 10**9 - 1)


def test_a_layer_that_comes_twice_is_refused():
    kernels, norm = (np.zeros((3, 3, 2, 1)), np.zeros((1, 1, 2, 2))), (np.zeros(2),) * 4
    layers = [KerasLayer(x.keras, kernels) for x in LAYERS if x.kind == "separable"]
    layers[0] = layers[1]
    layers += [KerasLayer(None, kernels[:1])] * 6 + [KerasLayer(None, norm)] * 40
    with pytest.raises(InputError, match="twice"):
        xception_from_keras(KerasFile(layers, "Keras"), Path("a.h5"))
