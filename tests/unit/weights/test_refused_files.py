"""Files that are damaged, dangerous or of no known kind: one clear sentence, nothing run."""

import argparse
import os
import pickle

import pytest
import torch

from xception.errors import InputError
from xception.weights.files import load_model, save_model


class Program:
    """What a malicious pickle looks like: unpickling it calls os.system."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("style", ["zip", "legacy", "plain"])
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_pickles_with_programs_are_refused_and_not_run(style, suffix, tmp_path):
    marker, path = tmp_path / "was_run", tmp_path / f"bad{suffix}"
    content = {"state_dict": {"a": torch.zeros(2)}, "x": Program(marker)}
    if style == "plain":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=style == "zip")
    with pytest.raises(InputError, match="is not a plain tensor checkpoint"):
        load_model(path)
    assert not marker.exists()


def test_a_program_within_a_namespace_is_refused_and_not_run(tmp_path):
    marker, path = tmp_path / "was_run", tmp_path / "bad.pth.tar"
    options = argparse.Namespace(model="legacy_xception", lr=Program(marker))
    torch.save({"state_dict": {"a": torch.zeros(2)}, "args": options}, path)
    with pytest.raises(InputError, match="is not a plain tensor checkpoint"):
        load_model(path)
    assert not marker.exists()


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"save the model's state_dict\(\) alone"):
        load_model(tmp_path / "a.pth")


def test_our_truncated_files_are_recognised(model, tmp_path):
    path = tmp_path / "a.safetensors"
    save_model(model, path)
    whole = path.read_bytes()
    for size in (5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="truncated"):
            load_model(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_checkpoints_are_recognised(zipped, model, tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for size in (len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="truncated"):
            load_model(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"", "is empty"),
        ("a.ckpt", b"", "is empty"),
        ("a.safetensors", b"garbage garbage garbage", "is no safetensors file"),
        ("a.pth", b"garbage garbage garbage", "is no checkpoint at all|truncated or damaged"),
        ("a.h5", b"garbage garbage garbage", "truncated or no Keras file"),
        ("a.keras", b"PK\x03\x04garbage", "truncated"),
        ("a.jpg", b"\xff\xd8\xff garbage garbage", "is no file of a known kind"),
    ],
)
def test_garbage_is_told_by_name(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        load_model(tmp_path / name)
    assert name in str(error.value)


def test_a_list_and_a_dictionary_without_tensors_are_refused(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "a.pth")
    with pytest.raises(InputError, match="holds a list and no dictionary of tensors"):
        load_model(tmp_path / "a.pth")
    torch.save({"epoch": 3}, tmp_path / "b.pth")
    with pytest.raises(InputError, match="holds no tensors by name"):
        load_model(tmp_path / "b.pth")


def test_a_missing_file_is_told_with_the_names_that_exist(tmp_path):
    with pytest.raises(InputError, match="no file, directory or named source 'keras-imagnet'; did"):
        load_model("keras-imagnet")
    with pytest.raises(InputError, match=r"missing\.safetensors"):
        load_model(tmp_path / "missing.safetensors")


def test_hdf5_that_points_outside_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(b"\0" * 64)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = ["a"]
        file.create_group("a").attrs["weight_names"] = ["w"]
        outside = [(str(tmp_path / "secret"), 0, 16)]
        file["a"].create_dataset("w", shape=(4,), dtype="f4", external=outside)
    with pytest.raises(InputError, match="points to another file"):
        load_model(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.attrs["layer_names"] = ["a"]
        file["a"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "/a")
    with pytest.raises(InputError, match="points to another file"):
        load_model(tmp_path / "b.h5")
