"""Serving: `xception serve` beside timm's network behind LitServe and behind a FastAPI script.

    python benchmarks/serving.py --hardware 'two cores of …' --save benchmarks/results

One set of weights (timm's ``legacy_xception``, random). Every server is a process; clients, in this
one, send a picture, wait for the answer and send the next. All servers are asked the same first and
must agree; then they take turns in seeded random order, one turn a round. Needs ``litserve``.
"""

import argparse
import base64
import contextlib
import datetime
import http.client
import io
import json
import os
import random
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engine_contenders import prepare_weights

OURS = {
    "xception serve, torch": "torch",
    "xception serve (auto)": "auto",
    "xception serve, openvino-bf16": "openvino-bf16",
}
PEERS = {"timm behind LitServe": "litserve", "timm behind FastAPI": "fastapi"}
IN_COMMON = 3
"""Of five classes: random weights tell them little apart, resizing differs in the last bit, and
bfloat16 rounds. That three of 1,000 classes agree by chance is out of the question."""


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], help="at once")
    parser.add_argument("--threads", type=int, default=2, help="of every server's network")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=16, help="of a turn")
    parser.add_argument("--contenders", nargs="+", default=[*OURS, *PEERS])
    parser.add_argument("--images", type=Path, help="folder of JPEGs; by default made ones")
    parser.add_argument("--folder", type=Path, help="keeps weights and conversions")
    parser.add_argument("--hardware", default="this machine")
    parser.add_argument("--save", type=Path, help="folder for the table")
    return parser.parse_args()


def pictures(folder: Path | None) -> list[bytes]:
    """At most 64 JPEGs: a folder's, or smooth noise of 500x375."""
    if folder:
        return [path.read_bytes() for path in sorted(folder.rglob("*.JPEG"))[:64]]
    import numpy as np
    from PIL import Image

    generator, made = np.random.default_rng(0), []
    for _ in range(16):
        coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((500, 375), 3).save(buffer, "JPEG", quality=90)
        made.append(buffer.getvalue())
    return made


class Server:
    """A server's process and how it is asked."""

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.as_json = PEERS.get(name) == "litserve"
        if name in PEERS:
            peers = str(Path(__file__).with_name("serving_peers.py"))
            words = [peers, PEERS[name], str(folder), str(self.port), str(threads)]
        else:
            words = ["-m", "xception", "serve", str(folder / "model.safetensors")]
            words += ["--engine", OURS[name], "--threads", str(threads), "--port", str(self.port)]
            words += ["--evaluation-mode", "resize-crop", "--crop-fraction", "0.8975"]
            words += ["--interpolation", "bicubic", "--device", "cpu"]
        self.process = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.DEVNULL, start_new_session=True
        )

    def ask(self, connection: http.client.HTTPConnection, picture: bytes) -> Any:
        """The classes of one picture."""
        body, headers = picture, {"Content-Type": "image/jpeg"}
        if self.as_json:
            body = json.dumps({"image": base64.b64encode(picture).decode()}).encode()
            headers = {"Content-Type": "application/json"}
        connection.request("POST", "/predict", body, headers)
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {told[:200]!r}")
        return json.loads(told)["predictions"]

    def wait(self) -> None:
        """Until it answers."""
        for _ in range(1200):
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/openapi.json")
                connection.getresponse().read()
                return
            if self.process.poll() is not None:
                sys.exit(f"a server ended with {self.process.returncode}")
            time.sleep(0.25)
        sys.exit("a server did not begin within five minutes")


@contextlib.contextmanager
def started(options: argparse.Namespace) -> Iterator[dict[str, Server]]:
    """All servers, one begun after the other: some of them measure when they begin."""
    servers: dict[str, Server] = {}
    try:
        for name in options.contenders:
            servers[name] = Server(name, options.folder, options.threads)
            servers[name].wait()
        yield servers
    finally:
        for server in servers.values():  # LitServe's workers outlive a signal to it alone
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()


def require_agreement(servers: dict[str, Server], picture: bytes) -> None:
    """Ends the benchmark where a server says something else than the first."""
    told: dict[str, set[str]] = {}
    for name, server in servers.items():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        for _ in range(100):  # LitServe's workers load after it listens
            with contextlib.suppress(RuntimeError):
                rows = server.ask(connection, picture)
                break
            time.sleep(0.5)
        told[name] = {row["class"] for row in rows}
    first = next(iter(told.values()))
    for name, found in told.items():
        if len(found & first) < IN_COMMON:
            sys.exit(f"{name} says something else: {found}, not {first}")


def take_turn(
    server: Server, sent: list[bytes], clients: int, requests: int
) -> tuple[float, list[float]]:
    """The seconds of a turn and of each of its requests."""
    ready = threading.Barrier(clients)

    def work(number: int) -> tuple[float, list[float]]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        server.ask(connection, sent[number % len(sent)])  # connects; caches are another's
        ready.wait()
        start, taken = time.perf_counter(), []
        for place in range(number, requests, clients):
            began = time.perf_counter()
            server.ask(connection, sent[place % len(sent)])
            taken.append(time.perf_counter() - began)
        return start, taken

    with ThreadPoolExecutor(clients) as threads:
        found = list(threads.map(work, range(clients)))
        seconds = time.perf_counter() - min(start for start, _ in found)
    return seconds, [one for _, several in found for one in several]


def table(clients: int, turns: dict[str, list[tuple[float, list[float]]]], requests: int) -> str:
    """Markdown: one row for each server."""
    speed = {
        name: requests / statistics.median(seconds for seconds, _ in several)
        for name, several in turns.items()
    }
    peer = max((speed[name] for name in PEERS if name in speed), default=float("nan"))
    lines = [
        f"## {clients} clients at once, {len(next(iter(turns.values())))} rounds",
        "",
        "| server | images/s | of the faster peer | ms, median | ms, 95 % of the requests |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, several in turns.items():
        taken = sorted(1000 * one for _, each in several for one in each)
        late = taken[min(len(taken) - 1, int(0.95 * len(taken)))]
        lines.append(
            f"| {name} | {speed[name]:.1f} | {speed[name] / peer:.2f} "
            f"| {statistics.median(taken):.0f} | {late:.0f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    from xception.export.extras import versions_of

    options, date = read_options(), str(datetime.date.today())
    with contextlib.ExitStack() as stack:
        options.folder = options.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        )
        options.folder.mkdir(parents=True, exist_ok=True)
        prepare_weights(options.folder)
        sent = pictures(options.images)
        servers = stack.enter_context(started(options))
        require_agreement(servers, sent[0])
        names = ("torch", "timm", "openvino", "onnxruntime", "litserve", "fastapi", "uvicorn")
        told = ", ".join(f"{name} {version}" for name, version in versions_of(*names).items())
        lines = [
            f"# Serving on {options.hardware}",
            "",
            f"Xception, 299x299, {options.threads} threads for each server's network; the clients "
            "share the cores. Medians of interleaved turns.",
            "",
            f"{date}; python {sys.version.split()[0]}, {told}",
            "",
            f"    python {shlex.join(sys.argv)}",
            "",
        ]
        order = random.Random(0)
        for clients in options.clients:
            turns: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in servers}
            for _ in range(options.rounds):
                for name in order.sample(list(servers), len(servers)):
                    turns[name].append(take_turn(servers[name], sent, clients, options.requests))
            lines.append(table(clients, turns, options.requests))
    print("\n".join(lines))
    if options.save:
        hardware = re.sub(r"[^a-z0-9]+", "-", options.hardware.lower()).strip("-")
        (options.save / f"serving-{hardware}-{date}.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
