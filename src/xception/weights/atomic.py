"""Writing a file so that a kill at any moment leaves the old one or the new one, never half."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # of a write, not of a name
_PROBE_BYTES = 1 << 20


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the path of a file in the same directory; it replaces ``path`` when the block ends.

    The content is flushed to the device before the name changes, and the directory after it. When
    the block raises, the old file stays as it was and nothing is left behind. What a killed process
    leaves behind has the same name every time, so that it does not pile up.

    Args:
        path: The file to write; its directory exists.

    Yields:
        The path to write to: hidden, beside ``path``.

    Raises:
        OSError: The device refused what the block wrote, also where the block's own error, as that
            of ``torch.save``, does not say so; ``filename`` is ``path``.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        with device_refusals(partial, path):
            yield partial
            partial.chmod(0o666 & ~_umask())  # some writers make files that nobody else can read
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    flush_directory(path.parent)


@contextlib.contextmanager
def device_refusals(partial: Path, path: Path) -> Iterator[None]:
    """Turns whatever a library says of a device that took no more into the system's own error.

    Libraries that write in C++ or Rust tell a full device in words of their own, or as a wrong
    position in the file. Then one more write, after which ``partial`` is to be deleted, asks the
    system itself.

    Args:
        partial: The file that the block writes, or another one on its device.
        path: What the user knows it as.

    Raises:
        OSError: The device is full or can't be written; ``filename`` is ``path``.
    """
    try:
        yield
    except Exception as error:
        number = _refusal(error, partial)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from None


def append_line(path: Path, line: str) -> None:
    """Adds a line to a text file and flushes it to the device.

    Args:
        path: The file; made if absent.
        line: Without its end.

    Raises:
        OSError: The device refused it; ``filename`` is ``path``.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _refusal(error: Exception, partial: Path) -> int | None:
    """The number of the system's error behind one that writing a file ended with, if any."""
    if isinstance(error, OSError):
        known = error.errno in _REFUSALS if error.filename is None else True
        of_partial = error.filename in (None, str(partial))
        return error.errno if known and of_partial else None
    try:
        with partial.open("ab") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as refused:
        return refused.errno
    return None


@contextlib.contextmanager
def replacing_together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """As ``replacing``, for files that belong together, under their own names in a hidden folder.

    Several names can't change in one moment. The first of the files is the one by which the others
    are found: it is taken away first and comes last. So a kill leaves the old files, the new ones,
    or none that can be opened.

    Args:
        paths: The files to write, all in one directory, which exists.

    Yields:
        The paths to write to, in the same order.

    Raises:
        OSError: As ``replacing``.
    """
    first = paths[0]
    folder = first.with_name(f".{first.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with device_refusals(folder / first.name, first):
            yield [folder / path.name for path in paths]
            for path in paths:
                with (folder / path.name).open("rb+") as file:
                    os.fsync(file.fileno())
            if len(paths) > 1:
                first.unlink(missing_ok=True)
            for path in reversed(paths):
                (folder / path.name).replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    flush_directory(first.parent)


def _umask() -> int:
    """The permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def flush_directory(directory: Path) -> None:
    """Makes changes of names in a directory durable, where the system allows it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
