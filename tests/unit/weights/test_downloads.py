"""Downloads, against a server on loopback: cached, resumed, checked, and clear when offline."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from xception.errors import InputError, RunFailedError
from xception.weights import sources
from xception.weights.files import load_model, save_model
from xception.weights.sources import NAMED_SOURCES, NamedSource, cache_directory, fetch

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(ThreadingHTTPServer):
    """Serves one file, whole or from a byte on; can break off and can ignore ranges."""

    content = CONTENT
    breaks_after = None
    knows_ranges = True
    tag = '"1"'

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []  # (start of the range or None, bytes sent)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server_port}/some/weights.bin"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range", server.tag)
        start = 0
        if wanted and server.knows_ranges and condition == server.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.end_headers()
                return
            self.send_response(206)
        else:
            self.send_response(200)
        body = server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.tag)
        self.end_headers()
        if server.breaks_after is not None:
            body = body[: server.breaks_after]
        server.requests.append((start if wanted else None, len(body)))
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    running = Server()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XCEPTION_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def name_it(monkeypatch, server, content=CONTENT, algorithm="sha256", size=1 << 20):
    """Makes a named source of the server's file."""
    digits = hashlib.new(algorithm, content).hexdigest()[:16]
    source = NamedSource(server.address, f"{algorithm}:{digits}", size, "a test")
    monkeypatch.setitem(NAMED_SOURCES, "test-source", source)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_named_source_is_downloaded_once(algorithm, server, cache, monkeypatch):
    name_it(monkeypatch, server, algorithm=algorithm)
    path = fetch("test-source")
    assert path == cache / "weights.bin"
    assert path.read_bytes() == CONTENT
    assert fetch("test-source") == path
    assert server.requests == [(None, len(CONTENT))]
    assert not list(cache.glob("*.partial*"))


def test_a_broken_download_goes_on_where_it_stopped(server, cache, monkeypatch):
    name_it(monkeypatch, server)
    server.breaks_after = 300_000
    with pytest.raises(RunFailedError, match=r"300000 of 1048576 bytes came.*run the same again"):
        fetch("test-source")
    assert not (cache / "weights.bin").exists()
    server.breaks_after = None
    assert fetch("test-source").read_bytes() == CONTENT
    assert server.requests == [(None, 300_000), (300_000, len(CONTENT) - 300_000)]


def test_a_server_without_ranges_sends_the_whole_file_again(server, monkeypatch):
    name_it(monkeypatch, server)
    server.breaks_after, server.knows_ranges = 1000, False
    with pytest.raises(RunFailedError):
        fetch("test-source")
    server.breaks_after = None
    assert fetch("test-source").read_bytes() == CONTENT


def test_a_file_that_changed_in_between_is_fetched_anew(server):
    """Of an address without a hash only the server's tag tells that it is another file."""
    server.breaks_after = 1000
    with pytest.raises(RunFailedError):
        fetch(server.address)
    server.breaks_after, server.tag, server.content = None, '"2"', CONTENT[::-1]
    assert fetch(server.address).read_bytes() == CONTENT[::-1]


def test_a_first_part_of_another_file_is_thrown_away(server, cache, monkeypatch):
    name_it(monkeypatch, server)
    cache.mkdir()
    (cache / "weights.bin.partial").write_bytes(b"x" * 1000)
    assert fetch("test-source").read_bytes() == CONTENT


def test_a_complete_first_part_needs_no_more_bytes(server, cache, monkeypatch):
    name_it(monkeypatch, server, size=None)
    cache.mkdir()
    (cache / "weights.bin.partial").write_bytes(CONTENT)
    assert fetch("test-source").read_bytes() == CONTENT
    assert server.requests == []  # 416


def test_a_wrong_hash_is_an_error_and_leaves_nothing(server, cache, monkeypatch):
    name_it(monkeypatch, server, content=b"something else")
    with pytest.raises(RunFailedError, match=r"is not the published file .*put the right file at"):
        fetch("test-source")
    assert not (cache / "weights.bin").exists()
    assert not (cache / "weights.bin.partial").exists()


def test_a_file_put_there_by_hand_is_checked_too(server, cache, monkeypatch):
    name_it(monkeypatch, server)
    cache.mkdir()
    (cache / "weights.bin").write_bytes(CONTENT)
    assert fetch("test-source").read_bytes() == CONTENT
    (cache / "weights.bin").write_bytes(b"another file")
    with pytest.raises(RunFailedError, match="delete it to download it again"):
        fetch("test-source")
    assert server.requests == []


def test_offline_tells_which_file_to_put_where(server, cache, monkeypatch):
    name_it(monkeypatch, server)
    server.shutdown()
    server.server_close()
    with pytest.raises(RunFailedError) as error:
        fetch("test-source")
    assert server.address in str(error.value)
    assert f"put that file at {cache / 'weights.bin'}" in str(error.value)


def test_a_refusal_is_told(server):
    server.RequestHandlerClass = type(
        "Refusing", (Handler,), {"do_GET": lambda self: self.send_error(404)}
    )
    with pytest.raises(RunFailedError, match="could not be downloaded"):
        fetch(server.address)


def test_processes_that_ask_at_once_download_once(server, monkeypatch):
    name_it(monkeypatch, server)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(fetch, ["test-source"] * 4))
    assert len(set(paths)) == 1
    assert len(server.requests) == 1


def test_load_model_takes_an_address(server, model, images, tmp_path):
    save_model(model, tmp_path / "a.safetensors")
    server.content = (tmp_path / "a.safetensors").read_bytes()
    digits = hashlib.md5(server.content).hexdigest()
    address = server.address.replace("weights.bin", "a.safetensors")
    loaded = load_model(f"{address}#md5={digits}")
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    with pytest.raises(RunFailedError, match="is not the published file"):
        load_model(f"{address}#md5={'0' * 32}")
    with pytest.raises(InputError, match="is no #md5="):
        load_model(f"{address}#top")


def test_published_files_are_known_by_their_hash_wherever_they_lie(tmp_path, monkeypatch):
    source = NamedSource("https://x/y.h5", f"md5:{hashlib.md5(CONTENT).hexdigest()}", 1 << 20, "")
    monkeypatch.setitem(NAMED_SOURCES, "test-source", source)
    (tmp_path / "mine.h5").write_bytes(CONTENT)
    assert sources.published_as(tmp_path / "mine.h5") == "test-source"
    (tmp_path / "mine.h5").write_bytes(CONTENT[::-1])
    assert sources.published_as(tmp_path / "mine.h5") is None


def test_imagenet_names_are_1000_different_ones_in_the_usual_order():
    names = sources.imagenet_class_names()
    assert len(set(names)) == 1000
    assert names[0] == "tench"
    assert names[207] == "golden retriever"
    assert names[999] == "toilet tissue"


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("XCEPTION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "xception"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "xception"


def test_addresses_and_hashes_are_those_of_the_installed_libraries():
    import keras.src.applications.inception_v3 as inception
    import keras.src.applications.xception as xception
    import timm
    from torchvision.models import Inception_V3_Weights

    told = {name: (s.address, s.hash) for name, s in NAMED_SOURCES.items()}
    for name, module in (("keras-imagenet", xception), ("keras-inception-v3-imagenet", inception)):
        text = open(module.__file__).read()  # noqa: SIM115, PTH123
        for suffix, address in (
            ("", module.WEIGHTS_PATH),
            ("-notop", module.WEIGHTS_PATH_NO_TOP),
        ):
            assert told[name + suffix][0] == address
            assert f'file_hash="{told[name + suffix][1].removeprefix("md5:")}"' in text
    cfg = timm.get_pretrained_cfg("legacy_xception")
    assert told["timm-imagenet"] == (cfg.url, "sha256:" + cfg.url.split("-")[-1][:-4])
    url = Inception_V3_Weights.IMAGENET1K_V1.url
    expected = (url, "sha256:" + url.split("-")[-1][:-4])
    assert told["torchvision-inception-v3-imagenet"] == expected
