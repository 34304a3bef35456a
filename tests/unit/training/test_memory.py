import platform
import subprocess
import sys

import pytest
import torch

from xception.distributed import ray_processes
from xception.recipes import asynchronous, run, worker_build
from xception.recipes.load import load_recipe
from xception.training import memory


def faults_of_ten_large_blocks(kept, old=False):
    """Pages that the system had to clear while 64 MiB were taken and freed ten times.

    Args:
        kept: Whether ``keep_freed_memory`` is called first.
        old: Whether thresholds above 32 MiB are refused, as by older versions of glibc.
    """
    program = f"""
import ctypes, resource
from xception.training import memory
from xception.training.memory import keep_freed_memory
class OldLibrary:
    def mallopt(self, name, value):
        refused = name == -3 and value > 2**25
        return 0 if refused else ctypes.CDLL(None).mallopt(name, value)
if {old}:
    class OldCtypes:
        CDLL = staticmethod(lambda name: OldLibrary())
    memory.ctypes = OldCtypes
if {kept}:
    assert keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
def once():
    block = library.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    library.free(block)
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not with glibc")


@needs_glibc
def test_keep_freed_memory_lets_a_block_be_used_again_without_new_pages():
    # 64 MiB are 16,384 pages of 4 KiB, or 32 of 2 MiB where the system gives large ones.
    assert faults_of_ten_large_blocks(kept=False) > 10 * 30
    assert faults_of_ten_large_blocks(kept=True) < 10 * 30


@needs_glibc
def test_keep_freed_memory_works_where_a_large_threshold_is_refused():
    assert faults_of_ten_large_blocks(kept=True, old=True) < 10 * 30  # as above


def test_keep_freed_memory_tells_that_nothing_could_be_set(monkeypatch):
    class Library:
        def mallopt(self, name, value):
            return 0

    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("glibc", "2.17"))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Library())
    assert not memory.keep_freed_memory()


def test_keep_memory_on_cpu_leaves_gpu_processes_alone(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: calls.append(1) or True)
    assert memory.keep_memory_on_cpu(torch.device("cpu"))
    assert not memory.keep_memory_on_cpu(torch.device("cuda", 0))
    assert calls == [1]


class ReachedError(Exception):
    pass


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_on_the_cpu_keeps_its_memory_unless_told_otherwise(monkeypatch, tmp_path, kept):
    devices = []
    monkeypatch.setattr(run, "keep_memory_on_cpu", devices.append)

    def stop(*_):
        raise ReachedError

    monkeypatch.setattr(run, "fit", stop)
    given = [] if kept else ["--training.keep_memory", "false"]
    recipe = load_recipe("digits-xception", ["--trainer.accelerator", "cpu", *given])
    with pytest.raises(ReachedError):
        run.run_recipe(recipe, tmp_path / "run")
    assert devices == ([torch.device("cpu")] if kept else [])


@pytest.mark.parametrize("kept", [True, False])
def test_an_asynchronous_run_tells_its_workers_and_servers_the_same(monkeypatch, tmp_path, kept):
    calls = []
    monkeypatch.setattr(worker_build, "keep_freed_memory", lambda: calls.append(1) or True)
    runs = []

    def stop(run, begin, has_bar):
        runs.append(run)
        raise ReachedError

    monkeypatch.setattr(asynchronous, "_simulated", stop)
    given = [] if kept else ["--training.keep_memory", "false"]
    keys = ["--asynchronous.workers", "2", "--asynchronous.engine", "simulator"]
    recipe = load_recipe("digits-xception", [*keys, *given])
    with pytest.raises(ReachedError):
        run.run_recipe(recipe, tmp_path / "run")
    assert len(calls) == kept  # of the driver
    assert runs[0].keep_memory is kept  # which the servers are made with
    worker_build.WorkerBuild(recipe, tmp_path / "run" / "checkpoints")()
    assert len(calls) == 2 * kept


@pytest.mark.parametrize("kept", [True, False])
def test_a_server_keeps_its_memory_if_it_is_told_to(monkeypatch, kept):
    pytest.importorskip("ray")
    calls = []
    monkeypatch.setattr(ray_processes, "keep_freed_memory", lambda: calls.append(1))
    monkeypatch.setattr(ray_processes.ray_tensors, "register", lambda ray: None)
    monkeypatch.setattr(ray_processes, "ParameterShard", lambda **arguments: arguments)
    assert ray_processes.ServerProcess({"plan": 3}, kept).shard == {"plan": 3}
    assert len(calls) == kept
