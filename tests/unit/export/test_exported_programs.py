"""``.pt2`` files: torch alone runs them, and what could run code of a stranger is refused."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import zipfile

import pytest
import torch

from xception.data.preprocessing import Preprocessing
from xception.errors import InputError
from xception.export.exporting import export_model
from xception.export.opening import open_exported, read_exported
from xception.export.program_check import plain_program


@pytest.fixture(scope="module")
def program(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    prepare = Preprocessing(size=40)
    names = ["cat", "dog", "cow"]
    export_model(tiny, path, pixels=True, class_names=names, preprocessing=prepare)
    return path


BARE = """
import json, sys

class Blocker:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "xception":
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
try:
    import xception
except ImportError:
    pass
else:
    raise SystemExit("the blocker does not block")
import torch

extra = {"xception.json": ""}
network = torch.export.load("model.pt2", extra_files=extra).module()
pixels = torch.arange(5 * 40 * 40 * 3).view(5, 40, 40, 3).mul(7919).remainder(256).byte()
with torch.no_grad():
    found = [network(pixels[:count]).tolist() for count in (1, 2, 5)]
assert not any(name.partition(".")[0] == "xception" for name in sys.modules)
print(json.dumps({"found": found, "names": json.loads(extra["xception.json"])["class_names"]}))
"""


def test_torch_alone_runs_a_program_for_any_batch(tiny, program):
    done = subprocess.run(
        [sys.executable, "-c", BARE],
        cwd=program.parent,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["names"] == ["cat", "dog", "cow"]
    pixels = torch.arange(5 * 40 * 40 * 3).view(5, 40, 40, 3).mul(7919).remainder(256)
    with torch.no_grad():
        expected = tiny(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
    for count, found in zip((1, 2, 5), told["found"], strict=True):
        difference = (torch.tensor(found) - expected[:count]).abs().max()
        assert difference < 1e-5 * expected.abs().max()  # float32 and 12 layers


def changed(program, path, change):
    """A copy with one member changed: of its name and bytes to other bytes, or more members."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            for member, content in change(name, old.read(name)):
                new.writestr(member, content)
    return path


class Runs:
    def __reduce__(self):
        return (os.mkdir, ("pwned",))


def pickled_image(name, content):
    if name.endswith("sample_inputs/model.pt"):
        buffer = io.BytesIO()
        torch.save((Runs(),), buffer)
        content = buffer.getvalue()
    yield name, content


def pickled_weight(name, content):
    if name.endswith("model_weights_config.json"):
        content = content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
    yield name, content


def operation(name, content):
    if name.endswith("models/model.json"):
        content = content.replace(b"torch.ops.aten.relu.default", b"torch.os.system", 1)
    yield name, content


def operation_by_a_path(name, content):
    if name.endswith("models/model.json"):
        content = content.replace(b"torch.ops.aten.relu.default", b"torch.ops.aten.__class__.x")
    yield name, content


def expression(name, content):
    if name.endswith("models/model.json"):
        content = content.replace(b"Symbol('s", b"__import__('os').system('s", 1)
    yield name, content


def guard(name, content):
    if name.endswith("models/model.json"):
        told = json.loads(content)
        told["guards_code"] = ["__import__('os').mkdir('pwned')"]
        content = json.dumps(told).encode()
    yield name, content


def library(name, content):
    yield name, content
    if name.endswith("models/model.json"):
        yield name.replace("models/model.json", "data/aotinductor/model/model.so"), b"\x7fELF"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (pickled_image, "a pickled object among the example images"),
        (pickled_weight, "a pickled object, network.entry_flow.conv1.conv.weight"),
        (operation, "the operation torch.os.system"),
        (operation_by_a_path, "the operation torch.ops.aten.__class__.x"),
        (expression, r"the expression __import__\('os'\)"),
        (guard, r"the expression __import__\('os'\)"),
        (library, "the member .*aotinductor/model/model.so"),
    ],
)
def test_a_program_that_could_run_code_is_refused(program, tmp_path, monkeypatch, change, told):
    monkeypatch.chdir(tmp_path)
    path = changed(program, tmp_path / "bad.pt2", change)
    with pytest.raises(InputError, match=f"holds {told}.*, which no file of xception export does"):
        open_exported(path)
    assert not (tmp_path / "pwned").exists()


def directory(archive):
    """An archive's list of members as bytes, its place, and the place of what points to it."""
    end = archive.rfind(b"PK\5\6")
    size, start = struct.unpack("<II", archive[end + 12 : end + 20])
    return bytearray(archive[start : start + size]), start, end


def two_archives(seen_by_torch, seen_by_python):
    """Two archives, of the same names and sizes, in one file.

    Python takes the list of members that ends where the end record begins, and counts all places
    from there; torch takes the list at the place that this record tells.
    """
    (_, told, end), (members, start, _) = directory(seen_by_torch), directory(seen_by_python)
    first = seen_by_torch[:end]
    shift = told - start  # Python takes what precedes the archive for something else
    place = 0
    while place < len(members):
        lengths = struct.unpack_from("<HHH", members, place + 28)
        (at,) = struct.unpack_from("<I", members, place + 42)
        struct.pack_into("<I", members, place + 42, at + shift)
        place += 46 + sum(lengths)
    record = bytearray(seen_by_python[seen_by_python.rfind(b"PK\5\6") :])
    struct.pack_into("<I", record, 16, told)
    return first + seen_by_python[:start] + bytes(members) + bytes(record)


def test_what_is_checked_is_what_torch_opens(tiny, program, tmp_path):
    def sigmoids(name, content):
        yield (
            name,
            content.replace(b"torch.ops.aten.relu.default", b"torch.ops.aten.sigmoid.default"),
        )

    def unchanged(name, content):
        yield name, content

    good, other = (
        changed(program, tmp_path / f"{change.__name__}.pt2", change).read_bytes()
        for change in (unchanged, sigmoids)
    )
    path = tmp_path / "both.pt2"
    path.write_bytes(two_archives(other, good))
    graphs = [str(torch.export.load(file).graph) for file in (path, program)]
    assert ["sigmoid" in graph for graph in graphs] == [True, False]  # torch itself is deceived
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = pixels_back(images)
    with torch.no_grad():
        expected = tiny(images)
    difference = (open_exported(path).model(images) - expected).abs().max()
    assert difference < 1e-5 * expected.abs().max()  # float32 and 12 layers


def pixels_back(images):
    """The nearest images of which each value is one of a pixel's 256."""
    return ((images + 1) * 127.5).round() / 127.5 - 1


def test_an_unchanged_copy_is_not_refused(program, tmp_path):
    path = changed(program, tmp_path / "same.pt2", lambda name, content: [(name, content)])
    plain_program(path)
    assert read_exported(path) == read_exported(program)


def test_another_program_says_that_it_is_not_one_of_ours(tmp_path):
    path = tmp_path / "other.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), path)
    with pytest.raises(InputError, match=r"does not say what it is .* written by xception export"):
        open_exported(path)
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match=r"is no torch.export program file, or damaged"):
        open_exported(path)
    with pytest.raises(InputError, match=r"there is no file .*gone.pt2"):
        open_exported(tmp_path / "gone.pt2")


def test_a_newer_format_is_refused(program, tmp_path):
    def newer(name, content):
        yield name, content.replace(b'"format_version": 1', b'"format_version": 2', 1)

    path = changed(program, tmp_path / "new.pt2", newer)
    with pytest.raises(InputError, match="has format version 2, this program reads up to 1"):
        open_exported(path)


KILLED = """
import os, signal
import torch
from xception import create_model, export_model
from xception.export import exporting

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

exporting.compare_with_model = die  # the file is written by then, and not yet compared
network = create_model(
    "xception", num_classes=3, width=0.0625, middle_flow_repeats=0, stem_strides=(1, 1)
)
export_model(network, "model.pt2", image_size=40, overwrite=True)
"""


def test_a_kill_leaves_the_old_file_and_the_next_export_clears_up(tiny, tmp_path):
    path = tmp_path / "model.pt2"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_text() == "old"
    left = [name for name in os.listdir(tmp_path) if name != "model.pt2"]  # noqa: PTH208
    assert left == [".model.pt2.partial"]
    export_model(tiny, path, image_size=40, overwrite=True)
    assert os.listdir(tmp_path) == ["model.pt2"]  # noqa: PTH208
    open_exported(path)
