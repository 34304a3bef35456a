"""A packing that is killed leaves nothing behind and goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLER = """
import os, signal, sys
from pathlib import Path
replace, calls = Path.replace, [0]
def dying(self, target):
    calls[0] += 1
    if calls[0] == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = dying
from xception.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("moment", [1, 2, 4, 7])
def test_a_killed_packing_goes_on(pack, table, tmp_path, moment):
    """Killed before each kind of change of a name: of a shard, of its note, of the manifest."""
    whole = pack(target="whole")
    words = [table / "train.jsonl", tmp_path / "shards", "--from", "table"]
    words += ["--images-per-shard", "4", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(moment), "data", "pack", *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "shards" / "manifest.json").exists()
    finished = {p: p.stat().st_mtime_ns for p in (tmp_path / "shards").glob("*.array_record")}
    assert len(finished) == moment // 2
    shards = pack()
    for number, path in enumerate(sorted(finished)):
        if number < (moment - 1) // 2 + (moment == 7):  # noted as finished: not written again
            assert path.stat().st_mtime_ns == finished[path]
    assert {p.name: p.read_bytes() for p in shards.iterdir() if p.is_file()} == {
        p.name: p.read_bytes() for p in whole.iterdir()
    }


SLOW = """
import os, sys, time
from xception.data import packing
whole, first = packing.encode_record, [0]
def slow(record):
    first[0] += 1
    if first[0] == 3:  # in the middle of a shard, in each process
        os.write(1, b"begun\\n")  # in one piece: both processes write
        time.sleep(600)
    return whole(record)
packing.encode_record = slow
from xception.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def _children(process):
    """Processes below one, the children of children too."""
    found = []
    for thread in Path(f"/proc/{process}/task").iterdir():
        for child in map(int, (thread / "children").read_text().split()):
            found += [child, *_children(child)]
    return found


def _ended(process):
    """Whether it is gone, or waits for nothing but to be buried."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_a_killed_packing_leaves_no_process_that_writes(pack, command, table, tmp_path, sent, code):
    """Two processes in the middle of their shards: both end, and packing goes on to the same."""
    whole = pack(target="whole")
    words = ["data", "pack", table / "train.jsonl", tmp_path / "shards", "--from", "table"]
    words += ["--images-per-shard", "4", "--workers"]
    run = subprocess.Popen(
        [sys.executable, "-c", SLOW, *map(str, words), "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # A shell starts what runs in the background deaf to Ctrl-C, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert [run.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
    below = _children(run.pid)
    assert len(below) >= 2
    refused, _, err = command(*words, 1)  # while the first one is at work
    assert (refused, "another process is writing into" in err) == (2, True)
    run.send_signal(sent)
    assert run.wait(timeout=30) == code
    run.stdout.close()
    run.stderr.close()
    until = time.monotonic() + 30
    while not all(map(_ended, below)):
        assert time.monotonic() < until, "a process was left behind"
        time.sleep(0.05)
    assert list((tmp_path / "shards").glob("*.partial"))
    again = pack("--workers", 2)
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {
        p.name: p.read_bytes() for p in whole.iterdir()
    }
