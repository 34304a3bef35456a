"""The server as a user starts it: a process, real connections, signals."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import pytest
from PIL import Image

from xception.cli.main import main
from xception.inference import predict
from xception.serving.server import bind, listen
from xception.weights.files import open_model

FIXED = ["--engine", "torch", "--device", "cpu", "--port", "0"]


CLASSES = [f"class {index}" for index in range(7)]


@pytest.fixture
def start(seven_classes):
    """Starts servers; they are killed at the end of the test."""
    begun = []

    def begin(*options, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "xception", "serve", str(seven_classes), *FIXED, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            # Behind a shell's & Ctrl-C would be ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        begun.append(process)
        about = process.stdout.readline()
        address = process.stdout.readline().split()[0] if about else None
        return process, about, address

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def ask(address, body=None):
    with urllib.request.urlopen(urllib.request.Request(address, body), timeout=60) as answer:
        return json.load(answer)


def test_serve_answers_many_clients_at_once_as_predict_does(start, seven_classes, tmp_path):
    generator = np.random.default_rng(1)
    paths = [tmp_path / f"{i:02d}.png" for i in range(24)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    right = list(predict(open_model(seven_classes), paths, top_k=7, device="cpu"))
    process, about, address = start("--top-k", "7", "--batch-size", "4")
    assert "xception, 7 classes, images of 32 pixels, engine torch on cpu" in about
    with ThreadPoolExecutor(12) as clients:
        told = list(clients.map(lambda path: ask(f"{address}/predict", path.read_bytes()), paths))
    for answer, one in zip(told, right, strict=True):
        found = {row["class"]: row["probability"] for row in answer["predictions"]}
        # The size of a batch decides in which order a convolution adds.
        assert found == pytest.approx(
            dict(zip(one.classes, one.probabilities, strict=True)), abs=1e-6
        )
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "ended: 24 images classified\n", "")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_serve_answers_what_was_asked_before_it_ends(start, name):
    process, _, address = start()
    host, port = address.removeprefix("http://").split(":")
    picture = io.BytesIO()
    Image.new("RGB", (40, 50)).save(picture, "PNG")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % len(picture.getvalue())
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 100")  # it has begun to read
        process.send_signal(getattr(signal, name))
        while not refuses(host, int(port)):  # so it has seen the signal
            pass
        client.sendall(picture.getvalue())
        answer = b"".join(iter(lambda: client.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"]) == 5
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "ended: 1 image classified\n", "")


def test_serve_ends_at_once_and_without_a_traceback_on_a_second_ctrl_c(start):
    process, _, address = start()
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: 900\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        process.send_signal(signal.SIGINT)
        while not refuses(host, int(port)):
            pass
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "ended: 0 images classified\n", "")


def refuses(host, port):
    try:
        socket.create_connection((host, port), timeout=60).close()
    except ConnectionError:
        return True
    return False


def test_serve_is_not_moved_by_clients_that_go_away_or_speak_no_http(start):
    process, _, address = start()
    host, port = address.removeprefix("http://").split(":")
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n"

    def send(sent):
        client = socket.create_connection((host, int(port)), timeout=60)
        client.sendall(sent)
        return client

    with send(b"\x16\x03\x01 that is TLS\r\n\r\n") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 400")
    with send(b"GET / HTTP/1.1\r\nX: " + b"x" * 66_000) as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 400")  # the head has not even ended
    send(head[:30]).close()  # in the middle of its head
    with send(head + b"Expect: 100-continue\r\n\r\n") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 100")  # in the middle of its body
        client.sendall(b"half")
    with pytest.raises(HTTPError, match="413"):  # not a broken pipe
        ask(f"{address}/predict", bytes(20 * 2**20))
    ask(f"{address}/health")
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "ended: 0 images classified\n", "")


def test_the_lines_of_docs_serving_get_an_answer(start, tmp_path, monkeypatch, capsys):
    _, _, address = start()
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    file = tmp_path / re.search(r'open\("(.*?)"', blocks[0])[1]
    file.parent.mkdir(parents=True)
    Image.new("RGB", (40, 50)).save(file)
    exec(blocks[0].replace("http://127.0.0.1:8000", address), {})
    assert capsys.readouterr().out.strip() in CLASSES


def test_an_application_of_ones_own_program_answers(seven_classes):
    from starlette.testclient import TestClient

    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    block = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[1]
    names = {}
    exec(block.replace("runs/demo", str(seven_classes)), names)
    with TestClient(names["application"]) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/model").json()["classes"] == CLASSES


def test_serve_reads_its_token_from_the_environment(start):
    _, _, address = start(XCEPTION_TOKEN="secret")
    with pytest.raises(HTTPError, match="401"):
        ask(f"{address}/model")
    asked = urllib.request.Request(f"{address}/model", headers={"Authorization": "Bearer secret"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert json.load(answer)["classes"] == CLASSES


def test_serve_says_in_one_sentence_why_it_can_not_begin(seven_classes, capsys, monkeypatch):
    def error(*options):
        assert main(["serve", str(seven_classes), *FIXED, *options]) == 2
        return capsys.readouterr().err.removeprefix("xception: error: ")

    with bind("127.0.0.1", 0) as taken:
        listen(taken)
        port = taken.getsockname()[1]
        assert error("--port", str(port)) == (
            f"port {port} of 127.0.0.1 is taken; give another --port, or 0 for any that is free\n"
        )
    assert error("--port", "70000") == "--port is 70000; give 0 to 65535\n"
    assert "no address 'no.such.host.invalid'" in error("--host", "no.such.host.invalid")
    assert "192.0.2.1 is no address of this machine" in error("--host", "192.0.2.1")
    for name in ("top-k", "batch-size", "queue-size", "request-mebibytes", "image-megapixels"):
        assert error(f"--{name}", "0") == f"--{name} is 0; give 1 or more\n"
    monkeypatch.setenv("XCEPTION_TOKEN", "")
    assert "the token is empty" in error()


def test_serve_names_the_extra_where_its_libraries_are_absent(seven_classes):
    code = (
        "import sys; sys.modules['uvicorn'] = None; from xception.cli.main import main; "
        f"sys.exit(main(['serve', {str(seven_classes)!r}]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr == (
        "xception: error: serving needs the library uvicorn: pip install 'xception[serving]'\n"
    )
