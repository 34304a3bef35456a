"""Downloading one file: resumed after an interruption, checked by its hash, never seen half."""

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from xception.errors import RunFailedError
from xception.weights.atomic import flush_directory

TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 1 << 20


def matches(path: Path, expected: str) -> bool:
    """Whether a file has a hash.

    Args:
        path: The file.
        expected: "md5:…" or "sha256:…"; of the digits, as many as are given count.
    """
    algorithm, digits = expected.split(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest().startswith(digits)


def download(
    address: str, path: Path, *, expected: str | None = None, size_bytes: int | None = None
) -> None:
    """Downloads a file to ``path``, going on where an earlier attempt was cut off.

    What has come so far lies beside ``path`` as ``<name>.partial``; the file appears under its own
    name only when it is whole and its hash is right. Several processes may ask for the same file:
    one downloads it, the others wait.

    Args:
        address: ``http://`` or ``https://``.
        path: Where it goes; the directory is made.
        expected: Its hash, see `check_hash`; None leaves it unchecked.
        size_bytes: Its size, if known.

    Raises:
        RunFailedError: The address can't be reached or breaks off, or the file has another hash.
            The message says which file to put where.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with FileLock(path.with_name(f"{path.name}.lock")):
        if path.is_file():  # another process was faster
            return
        try:
            resumed = _transfer(address, partial, size_bytes)
            if expected is not None and resumed and not matches(partial, expected):
                partial.unlink()  # its first part was of another file
                _transfer(address, partial, size_bytes)
        except (OSError, HTTPException) as error:
            raise RunFailedError(
                f"{address} could not be downloaded ({_reason(error)}): run the same again to go "
                f"on, or on a machine without network put that file at {path}"
            ) from error
        if expected is not None and not matches(partial, expected):
            partial.unlink()
            raise RunFailedError(
                f"what {address} sends is not the published file (its {expected.replace(':', ' ')} "
                f"does not match): put the right file at {path}"
            )
        partial.replace(path)
        _tag(partial).unlink(missing_ok=True)
        flush_directory(path.parent)


def _transfer(address: str, partial: Path, size_bytes: int | None) -> bool:
    """Appends what is missing, and says whether there was something before.

    Raises:
        OSError: No connection, a refusal, no space, or fewer bytes than announced.
    """
    start = partial.stat().st_size if partial.exists() else 0
    if size_bytes is not None and start >= size_bytes:
        if start == size_bytes:
            return True
        start = 0
    headers = {"User-Agent": "xception", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if _tag(partial).exists():  # another file by now? then the whole of it comes
            headers["If-Range"] = _tag(partial).read_text()
    try:
        response = urlopen(Request(address, headers=headers), timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        if error.code != 416 or not start:
            raise
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
            return True  # nothing is left to send
        partial.unlink()  # the file there is shorter
        return _transfer(address, partial, size_bytes)
    with response:
        if response.status != 206:
            start = 0  # the server sends the whole file
        if tag := response.headers.get("ETag"):
            _tag(partial).write_text(tag)
        announced = response.headers.get("Content-Length")
        total_bytes = start + int(announced) if announced else size_bytes
        with partial.open("ab" if start else "wb") as file, _progress(partial, total_bytes) as show:
            _copy(response, file, start, show)
    received = partial.stat().st_size
    if total_bytes is not None and received != total_bytes:
        raise OSError(f"{received} of {total_bytes} bytes came")
    return start > 0


def _tag(partial: Path) -> Path:
    """Where the server's mark of the file's version is kept, beside its first part."""
    return partial.with_name(f"{partial.name}.etag")


def _copy(response: Any, file: IO[bytes], start: int, show: Callable[[int], None]) -> None:
    done = start
    while chunk := response.read(_CHUNK_BYTES):
        file.write(chunk)
        done += len(chunk)
        show(done)


@contextlib.contextmanager
def _progress(partial: Path, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal's error stream; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(partial.name.removesuffix(".partial"), total=total_bytes)
        yield lambda done: bar.update(task, completed=done)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason).splitlines()[0][:120] if str(reason) else type(error).__name__
