"""Loader processes: what signals do to them, and that none is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, sys, time
import torch
from xception.data.loading import TrainingLoader
from xception.data.sources import ArraySource
from xception.data.transforms import TrainingTransform

class Slow(ArraySource):
    def __getitem__(self, index):
        time.sleep(0.002)
        return super().__getitem__(index)

if __name__ == "__main__":
    got = []
    if sys.argv[1] == "handled":  # as a training does that saves before it stops
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: got.append(_[0]))
    images = torch.zeros(200, 3, 8, 8, dtype=torch.uint8)
    loader = TrainingLoader(Slow(images, [0] * 200, ["a"]), TrainingTransform(size=8),
                            batch_size=4, num_workers=2)
    batches = iter(loader)
    next(batches)
    workers = [w.pid for w in loader._loader._iterator._workers]
    print(*workers, flush=True)
    rest = 1 + sum(1 for _ in batches)
    print("done", rest, *sorted(set(got)), flush=True)
"""


@pytest.fixture
def program(tmp_path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return path


def start(program: Path, mode: str) -> tuple[subprocess.Popen, list[int]]:
    """Starts the program in a process group of its own; returns it and its loader processes."""
    process = subprocess.Popen(
        [sys.executable, str(program), mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A test run in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    workers = [int(word) for word in process.stdout.readline().split()]
    assert len(workers) == 2
    return process, workers


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pids: list[int], seconds: float) -> list[int]:
    """The processes that are still there after some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(is_running, pids)):
        time.sleep(0.05)
    return [pid for pid in pids if is_running(pid)]


needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_outlive_a_signal_to_the_whole_job(program, number):
    process, workers = start(program, "handled")
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=60)
    assert output.split() == ["done", "50", str(int(number))]
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert not wait_until_gone(workers, 10)


@needs_proc
def test_ctrl_c_prints_no_traceback_of_a_worker(program):
    process, workers = start(program, "unhandled")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count("Traceback") == 1  # the main process's own
    assert "KeyboardInterrupt" in errors
    assert "_worker_loop" not in errors
    assert not wait_until_gone(workers, 10)


@needs_proc
def test_workers_end_when_the_main_process_is_killed(program):
    process, workers = start(program, "handled")
    process.kill()
    process.communicate(timeout=60)
    assert not wait_until_gone(workers, 20)  # they look after their parent every five seconds


@needs_proc
def test_workers_end_when_the_parent_ends_them(program):
    process, workers = start(program, "handled")
    # From elsewhere, SIGTERM is passed over …
    os.kill(workers[0], signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert output.split()[:2] == ["done", "50"]
    # … and at the end of the main process, none is left.
    assert not wait_until_gone(workers, 10)
