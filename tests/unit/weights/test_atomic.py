"""Atomic files: the old one or the new one, never half."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from xception.weights.atomic import append_line, replacing, replacing_together


def test_the_new_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with replacing(path) as partial:
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]  # noqa: PTH208


def test_an_error_keeps_the_old_one_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail():
        with replacing(path) as partial:
            partial.write_bytes(b"half")
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]  # noqa: PTH208


def test_a_kill_keeps_the_old_one_and_the_next_write_cleans_up(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    program = (
        "import os, pathlib, signal, sys\n"
        "from xception.weights.atomic import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    with replacing(path) as partial:
        partial.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]  # noqa: PTH208


@pytest.fixture
def events(monkeypatch):
    """What a power failure depends on, in its order: flushes by name and size, and new names."""
    found = []
    real_flush, real_replace = os.fsync, Path.replace

    def flush(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        found.append(("flush", path.name if path.is_file() else "directory"))
        real_flush(descriptor)

    def replace(self, target):
        found.append(("name", Path(target).name))
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", replace)
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads names of open files in /proc")


@linux
def test_a_file_is_on_the_device_before_its_name_and_then_the_name(tmp_path, events):
    with replacing(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"new")
    assert events == [("flush", ".a.bin.partial"), ("name", "a.bin"), ("flush", "directory")]


@linux
def test_files_that_belong_together_are_on_the_device_before_their_names(tmp_path, events):
    """The first one, by which the other is found, gets its name last."""
    with replacing_together([tmp_path / "a.xml", tmp_path / "a.bin"]) as partials:
        for partial in partials:
            partial.write_bytes(b"new")
    names = [("name", "a.bin"), ("name", "a.xml")]
    assert events == [("flush", "a.xml"), ("flush", "a.bin"), *names, ("flush", "directory")]


def test_the_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    with replacing(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"new")
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "usual").stat().st_mode


def plain_write(content, path):
    path.write_bytes(content["x"].numpy().tobytes())


@pytest.fixture
def small_files_only():
    """No file may grow above 64 KiB: a refusal of the system's that needs no full device."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("write", [torch.save, save_file, plain_write])
def test_a_refusal_of_the_device_is_the_systems_error_whatever_the_library_says(
    write, tmp_path, small_files_only
):
    """torch.save speaks of an "unexpected pos", safetensors has an exception of its own."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail():
        with replacing(path) as partial:
            write({"x": torch.zeros(1 << 20)}, partial)

    with pytest.raises(OSError, match="File too large") as told:
        fail()
    assert (told.value.errno, told.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]  # noqa: PTH208


def test_an_error_that_is_not_the_devices_stays_what_it_is(tmp_path):
    def fail():
        with replacing(tmp_path / "a.bin") as partial:
            partial.write_bytes(b"half")
            raise RuntimeError("another matter")

    with pytest.raises(RuntimeError, match="another matter"):
        fail()
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_line_that_does_not_fit_names_its_file(tmp_path, small_files_only):
    path = tmp_path / "metrics.csv"
    append_line(path, "1,2")
    assert path.read_text() == "1,2\n"
    with pytest.raises(OSError, match="File too large") as told:
        append_line(path, "3" * (1 << 17))
    assert told.value.filename == str(path)


PAIR = """
import os, sys
from pathlib import Path
from xception.weights.atomic import replacing_together

left = int(sys.argv[1])

def counted(change):
    def changed(*arguments, **options):
        global left
        if left == 0:
            os._exit(9)  # as a kill: nothing is cleaned up
        left -= 1
        return change(*arguments, **options)
    return changed

for name in ("replace", "unlink"):
    setattr(Path, name, counted(getattr(Path, name)))
with replacing_together([Path("a.xml"), Path("a.bin")]) as partial:
    for path in partial:
        path.write_text("new")
"""


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_kill_between_two_names_leaves_a_whole_pair_or_none(tmp_path, before):
    """However many names have changed: no ``.xml`` ever stands beside another pair's ``.bin``."""
    for name in ("a.xml", "a.bin"):
        (tmp_path / name).write_text("old")
    done = subprocess.run([sys.executable, "-c", PAIR, str(before)], cwd=tmp_path, check=False)
    assert done.returncode == (9 if before < 3 else 0)
    first, second = tmp_path / "a.xml", tmp_path / "a.bin"
    if first.exists():
        assert first.read_text() == second.read_text() == ("old" if before == 0 else "new")
    else:
        assert before in (1, 2)
    with replacing_together([first, second]) as partial:
        for path in partial:
            path.write_text("newer")
    assert first.read_text() == second.read_text() == "newer"
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "a.xml"]  # noqa: PTH208
