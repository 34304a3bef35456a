"""Commands in a network namespace of their own, with loopback only, that leave no process behind.

Ray starts many processes and listens on ports: it is tested where nobody can reach them.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MARK = "XCEPTION_TEST_OF"
ADDRESS = "10.9.8.7"  # stands for the machine's place in a network

needs_namespace = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode != 0
    or not shutil.which("ip"),
    reason="needs a network namespace (unshare -n, ip)",
)


def processes_of(mark: str) -> list[int]:
    """The processes that inherited a mark."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def name_of(pid: int) -> str:
    """How a process calls itself; "" where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode()
    except OSError:
        return ""


@dataclass
class Command:
    """A command that is running.

    Attributes:
        process: It.
        log: What it prints, errors too.
        mark: What its environment has.
    """

    process: subprocess.Popen[bytes]
    log: Path
    mark: str

    def told(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Until it has printed a text."""
        end = time.monotonic() + seconds
        while text not in self.told():
            assert time.monotonic() < end, f"it has not printed {text!r}: {self.told()}"
            assert self.process.poll() is None, f"it ended without {text!r}: {self.told()}"
            time.sleep(0.1)

    def left(self, seconds: float = 10, besides: Sequence[str] = ()) -> list[str]:
        """Its processes that outlive it by so long.

        Args:
            seconds: How long.
            besides: Names of processes that may.
        """
        end = time.monotonic() + seconds
        while True:
            names = [name_of(pid) for pid in processes_of(self.mark)]
            found = [name for name in names if name and name not in besides]
            if not found or time.monotonic() > end:
                return found
            time.sleep(0.2)


@contextmanager
def alone(words, log: Path, *, has_network: bool = False, **environment: str):
    """Runs Python with these words where there is no network but loopback.

    Into a file: processes that Ray leaves for a while would hold a pipe open.

    Args:
        words: After ``python``.
        log: Where its output goes.
        has_network: Whether it has an address beside 127.0.0.1, which leads nowhere.
        environment: Added to this process's.
    """
    network = f"ip addr add {ADDRESS}/24 dev lo && ip route add default via {ADDRESS} && "
    script = f'ip link set lo up && {network if has_network else ""}exec "$@"'
    mark = uuid.uuid4().hex
    own = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", MARK: mark, **environment}
    with log.open("w") as file:
        process = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", script, "sh", sys.executable, *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **own},
            start_new_session=True,
        )
    try:
        yield Command(process, log, mark)
    finally:
        for pid in processes_of(mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()


def run_alone(words, log: Path, seconds: float = 500, **more) -> tuple[int, str]:
    """Its exit code and what it printed; nothing of it is running any more."""
    with alone(words, log, **more) as command:
        code = command.process.wait(seconds)
        assert command.left() == [], f"processes are left: {command.told()}"
        return code, command.told()
