"""Converted models, kept beside the weights that they come from.

``model.safetensors.engines/<key>/`` holds a conversion's files and ``record.json``: what the
conversion is of, the digest of each file, and what was measured with it. The key is a digest of
the tensors, the architecture, the engine, the size of the images and the versions of the libraries:
other weights in the same file, or a newer library, never meet an old conversion.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import nn

from xception.errors import InputError
from xception.weights.atomic import device_refusals, flush_directory, replacing
from xception.weights.sources import cache_directory

RECORD = "record.json"
MOST_ENTRIES = 16  # per weights file: the oldest go first
_temporary: dict[str, tempfile.TemporaryDirectory[str]] = {}  # by the weights file's path


def weights_digest(model: nn.Module) -> str:
    """Identifies a network: its architecture, its arguments, the names and values of its tensors.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 2)
        >>> before = weights_digest(layer)
        >>> _ = torch.nn.init.zeros_(layer.weight)
        >>> before == weights_digest(layer)
        False
    """
    told = [getattr(model, name, None) for name in ("architecture", "arguments")]
    digest = hashlib.sha256(repr(told).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().data)
    return digest.hexdigest()


def entry_name(identity: Mapping[str, Any]) -> str:
    """The name of the folder for a conversion: engine and a digest of all that decides it."""
    text = json.dumps(dict(identity), sort_keys=True)
    return f"{identity['engine']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def cache_folders(weights_file: Path) -> tuple[Path, ...]:
    """Where conversions of a file may lie: beside it, in the user's cache, in this process's."""
    place = str(weights_file.resolve())
    beside = weights_file.with_name(f"{weights_file.name}.engines")
    folders = [beside]
    with contextlib.suppress(InputError):  # a user without a home
        name = hashlib.sha256(place.encode()).hexdigest()[:16]
        folders.append(cache_directory() / "engines" / name)
    if place in _temporary:
        folders.append(Path(_temporary[place].name))
    return tuple(folders)


def writable_folder(weights_file: Path) -> Path:
    """Where a conversion of a file is written: beside it, or in the user's cache if it must be.

    Where neither can be written, in a temporary folder, which goes when this process ends.

    Raises:
        InputError: There is no temporary folder either.
    """
    folders = cache_folders(weights_file)
    for folder in folders:
        if _is_writable(folder):
            return folder
    nowhere = f"a converted model can't be stored in {' or in '.join(map(str, folders))}"
    remedy = "set XCEPTION_CACHE to a directory that can be written"
    try:
        own = tempfile.TemporaryDirectory(prefix="xception-engines-")
    except OSError:
        raise InputError(f"{nowhere}; {remedy}") from None
    warnings.warn(f"{nowhere}: it is made anew by every command; {remedy}", stacklevel=2)
    _temporary[str(weights_file.resolve())] = own
    return Path(own.name)


def stored_or_built(
    weights_file: Path, identity: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any]]
) -> Path:
    """The folder of a conversion, built if it is not there or damaged.

    One process builds; others that want the same conversion wait for it. A process that is killed
    leaves a hidden folder, which the next one to build the same conversion clears away.

    Args:
        weights_file: What the conversion is of.
        identity: All that decides the conversion, JSON primitives; with the key ``engine``.
        build: Writes the files into the folder that it is given and returns more for the record.

    Returns:
        A folder whose files have the digests of its record.

    Raises:
        InputError: There is none, and it can be written nowhere.
    """
    name = entry_name(identity)
    if stored := _stored(weights_file, name):
        return stored
    folder = writable_folder(weights_file)
    entry, building = folder / name, folder / f".building-{name}"
    with FileLock(folder / f".{name}.lock"):
        if stored := _stored(weights_file, name):  # by whoever held the lock
            return stored
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        try:
            with device_refusals(building / ".probe", entry):
                found = dict(build(building))
                files = {path.name: _file_digest(path) for path in sorted(building.iterdir())}
                record = {"identity": dict(identity), "files": files} | found
                (building / RECORD).write_text(json.dumps(record, indent=2))
                for file in (*files, RECORD):
                    _flush(building / file)
            shutil.rmtree(entry, ignore_errors=True)  # damaged
            building.rename(entry)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        flush_directory(folder)
    _prune(folder, keep=entry)
    return entry


def _stored(weights_file: Path, name: str) -> Path | None:
    for folder in cache_folders(weights_file):
        entry = folder / name
        if read_record(entry) is not None:
            _touch(entry)
            return entry
    return None


def _touch(entry: Path) -> None:
    """Marks a conversion as used: it is not among the oldest."""
    with contextlib.suppress(OSError):  # a folder that can't be written
        os.utime(entry)


def _last_used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:  # another process has pruned it meanwhile
        return 0.0


def read_record(entry: Path) -> dict[str, Any] | None:
    """What is known of a conversion; None if it is not there, not whole or damaged."""
    try:
        record = json.loads((entry / RECORD).read_text())
        for name, digest in record["files"].items():
            if _file_digest(entry / name) != digest:
                return None
        return dict(record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def newest_entry(weights_file: Path, identity: Mapping[str, Any]) -> Path | None:
    """The conversion used last among those that agree with what is given of an identity.

    It counts as used once more.
    """
    entries = [entry for folder in cache_folders(weights_file) for entry in _entries(folder)]
    for entry in sorted(entries, key=_last_used, reverse=True):
        if not entry.name.startswith(f"{identity['engine']}-"):
            continue
        known = (read_record(entry) or {}).get("identity", {})
        if known and all(known.get(name) == value for name, value in identity.items()):
            _touch(entry)
            return entry
    return None


def add_to_record(entry: Path, facts: Mapping[str, Any]) -> bool:
    """Stores what was measured with a conversion.

    Returns:
        False where the record can't be written.
    """
    try:
        with FileLock(entry.parent / f".{entry.name}.lock"):
            record = json.loads((entry / RECORD).read_text()) | dict(facts)
            with replacing(entry / RECORD) as partial:
                partial.write_text(json.dumps(record, indent=2))
    except OSError:
        return False
    return True


def _is_writable(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    return False


def _prune(folder: Path, keep: Path) -> None:
    entries = sorted(_entries(folder), key=_last_used, reverse=True)
    for old in [path for path in entries if path != keep][MOST_ENTRIES - 1 :]:
        with FileLock(folder / f".{old.name}.lock"):
            shutil.rmtree(old, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for path in folder.iterdir() if (path / RECORD).is_file()]
    return []


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
