"""A process that dies hard ends the pool with one sentence; before, the parent could wait for ever.

Each pool runs in a process of its own, which is given a minute: a pool that hangs fails the test.
"""

import subprocess
import sys

import pytest

POOL = """
import os, signal, time
from xception.data.process_pool import process_pool
from xception.errors import RunFailedError

def work(number):
    time.sleep(0.3)  # the other processes are in their work, their watchers in their wait
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()

try:
    with process_pool(2) as pool:
        print(*pool.map(work, range(8)))
except RunFailedError as error:
    print("failed:", error)
"""

PACKING = """
import os, pathlib, signal, sys, time
from xception.data.packing import Packing, pack
from xception.data.targets import SparseLabels
from xception.errors import RunFailedError

class Images:
    def __len__(self):
        return 12
    def key(self, index):
        return str(index)
    def describe(self, index):
        return str(index)
    def size(self, index):
        return 5
    def read(self, index):
        time.sleep(0.1)
        if index == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return b"image"

labels = SparseLabels.from_lists([[0]] * 12, num_classes=2)
try:
    pack(Packing(Images(), labels, ["a", "b"], False, 3), pathlib.Path(sys.argv[1]), workers=2)
except RunFailedError as error:
    print("failed:", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the scripts rely on fork")
@pytest.mark.parametrize("script", [POOL, PACKING], ids=["pool", "packing"])
def test_a_killed_process_ends_the_pool_with_one_sentence(script, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(script, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(path), str(tmp_path / "shards")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == (
        "failed: a worker process was killed or crashed; start again, with fewer workers if "
        "memory ran out\n"
    )
