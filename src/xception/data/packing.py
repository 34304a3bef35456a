"""From labelled images to ArrayRecord shards: in parallel, and to be gone on with after a kill.

A shard is written under another name, flushed and renamed, with a note of its hash beside it; the
manifest comes last. What is there under its own name is whole, and is not written again.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xception.data.decoding import UnreadableImageError
from xception.data.encoded_images import EncodedImages
from xception.data.folder_lock import folder_lock
from xception.data.manifest import (
    MANIFEST,
    SHARD_SUFFIX,
    Manifest,
    Reencoding,
    Shard,
    read_manifest,
    shard_name,
    write_manifest,
)
from xception.data.process_pool import process_pool
from xception.data.records import Record, encode_record
from xception.data.reencoding import reencode
from xception.data.shards import array_record, may_fork, open_records
from xception.data.targets import SparseLabels
from xception.errors import InputError
from xception.weights.atomic import device_refusals, flush_directory

NOTES = ".packing"
_WRITER = "group_size:1"  # a record to a group: one is read without its neighbours


@dataclass(frozen=True)
class Packing:
    """What is packed, and how.

    Attributes:
        images: The bytes of each image.
        labels: Its labels.
        class_names: One name per class.
        multi_label: Whether an image has several labels.
        images_per_shard: At most.
        reencoding: How images are encoded anew; None keeps their files.
    """

    images: EncodedImages
    labels: SparseLabels
    class_names: list[str]
    multi_label: bool
    images_per_shard: int = 4096
    reencoding: Reencoding | None = None

    @property
    def shards(self) -> int:
        """How many files it takes."""
        return -(-len(self.images) // self.images_per_shard)

    def rows(self, shard: int) -> range:
        """The images of a shard."""
        start = shard * self.images_per_shard
        return range(start, min(start + self.images_per_shard, len(self.images)))

    def name(self) -> str:
        """A hash of the images' names and sizes, their labels and the options: 12 digits.

        Of the sizes, since an image that was repaired or replaced makes another packing.
        """
        digest = hashlib.sha256()
        how = [self.class_names, self.multi_label, self.images_per_shard]
        again = self.reencoding and asdict(self.reencoding)
        digest.update(json.dumps([*how, again, len(self.images)]).encode())
        for index in range(len(self.images)):
            digest.update(self.images.key(index).encode("utf-8", "surrogateescape") + b"\0")
            digest.update(self.images.size(index).to_bytes(8, "big", signed=True))
        labels = self.labels
        arrays = [labels.present.offsets, labels.present.values.astype(np.int64), labels.weights]
        if labels.absent is not None:
            arrays += [labels.absent.offsets, labels.absent.values.astype(np.int64)]
        for array in arrays:
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:12]


def pack(
    packing: Packing,
    target: Path,
    *,
    workers: int = 1,
    progress: Callable[[int], Any] | None = None,
) -> Manifest:
    """Writes the shards and their manifest; goes on where an earlier call was stopped.

    Args:
        packing: What to pack.
        target: The folder; made if absent.
        workers: Processes.
        progress: Called after every shard with the number of its images.

    Returns:
        The manifest; ``Shard.skipped`` names the images that could not be read.

    Raises:
        InputError: The folder holds another packing or other files, another process packs into it,
            or no image could be read.
    """
    array_record()
    name = packing.name()
    if not (target / MANIFEST).is_file():
        _claim(target, name)
    with folder_lock(target):
        if not (target / MANIFEST).is_file():
            return _pack(packing, target, name, workers, progress)
        done = read_manifest(target)
        if done.packing != name:
            raise _another(target, done.packing)
        _clear_notes(target)
        return done


def _pack(
    packing: Packing,
    target: Path,
    name: str,
    workers: int,
    progress: Callable[[int], Any] | None,
) -> Manifest:
    (target / NOTES).mkdir(exist_ok=True)
    wanted = list(range(packing.shards))
    shards: dict[int, Shard] = {}
    for number in wanted:
        noted = _noted(packing, target, name, number)
        if noted is not None:
            shards[number] = noted
            if progress:
                progress(len(packing.rows(number)))
    todo = [number for number in wanted if number not in shards]
    for number, shard in _written(packing, target, name, todo, workers):
        shards[number] = shard
        if progress:
            progress(len(packing.rows(number)))
    found = [shards[number] for number in wanted]
    if not any(shard.records for shard in found):
        reason = next((text for shard in found for text in shard.skipped), "there is none")
        raise InputError(f"no image could be packed, the first is {reason}")
    counts = np.zeros(len(packing.class_names), np.int64)
    for number in wanted:
        counts += np.array(_note(target, name, number)["images_per_class"])
    manifest = Manifest(
        packing=name,
        class_names=packing.class_names,
        multi_label=packing.multi_label,
        reencoding=packing.reencoding,
        shards=found,
        images_per_class=counts.tolist(),
    )
    write_manifest(target, manifest)
    _clear_notes(target)
    return manifest


def _clear_notes(target: Path) -> None:
    if (target / NOTES).is_dir():
        for note in (target / NOTES).iterdir():
            note.unlink()
        (target / NOTES).rmdir()


def _another(target: Path, name: str) -> InputError:
    return InputError(
        f"{target} holds the packing {name}, which has other images, labels or options "
        "(changed images are others); choose another folder, or remove it"
    )


def _claim(target: Path, name: str) -> None:
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; name a folder for the shards")
    if target.is_dir():
        for path in sorted(target.iterdir()):
            if path.name.startswith((f"shard-{name}-", ".")):
                continue
            if path.name.endswith((SHARD_SUFFIX, f"{SHARD_SUFFIX}.partial")):
                raise _another(target, path.name.split("-")[1])
            raise InputError(f"{target} holds {path.name}; name a folder for the shards alone")
    target.mkdir(parents=True, exist_ok=True)


def _note_path(target: Path, name: str, number: int) -> Path:
    return target / NOTES / f"{name}-{number:05d}.json"


def _note(target: Path, name: str, number: int) -> dict[str, Any]:
    return dict(json.loads(_note_path(target, name, number).read_text(encoding="utf-8")))


def _noted(packing: Packing, target: Path, name: str, number: int) -> Shard | None:
    """A shard that was finished before; None if it has to be written."""
    path = target / shard_name(name, number, packing.shards)
    if not (path.is_file() and _note_path(target, name, number).is_file()):
        return None
    try:
        shard = Shard(**_note(target, name, number)["shard"])
    except (ValueError, KeyError, TypeError):
        return None
    return shard if path.stat().st_size == shard.bytes else None


def _written(
    packing: Packing, target: Path, name: str, todo: list[int], workers: int
) -> Iterator[tuple[int, Shard]]:
    if workers <= 1 or len(todo) <= 1:
        for number in todo:
            yield number, write_shard(packing, target, name, number)
        return
    # Forked processes share names and labels; others get a copy.
    count, begin = min(workers, len(todo)), (packing, target, name)
    with process_pool(count, _remember, begin, fork=may_fork()) as pool:
        yield from zip(todo, pool.map(_write_remembered, todo), strict=True)


_REMEMBERED: list[tuple[Packing, Path, str]] = []


def _remember(packing: Packing, target: Path, name: str) -> None:
    _REMEMBERED[:] = [(packing, target, name)]


def _write_remembered(number: int) -> Shard:
    import torch

    torch.set_num_threads(1)  # the processes are as many as the cores already
    return write_shard(*_REMEMBERED[0], number)


def write_shard(packing: Packing, target: Path, name: str, number: int) -> Shard:
    """Writes one shard, whole or not at all, and notes its hash.

    Args:
        packing: What is packed.
        target: The folder.
        name: The packing's name.
        number: Of the shard, from 0.
    """
    path = target / shard_name(name, number, packing.shards)
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    counts = np.zeros(len(packing.class_names), np.int64)
    skipped: list[str] = []
    with device_refusals(partial, path):
        records = _write_records(packing, partial, number, counts, skipped)
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
    shard = Shard(path.name, records, partial.stat().st_size, digest, skipped)
    partial.replace(path)
    flush_directory(target)
    note = {"shard": asdict(shard), "images_per_class": counts.tolist()}
    waiting = _note_path(target, name, number).with_suffix(".partial")
    waiting.write_text(json.dumps(note), encoding="utf-8")
    waiting.replace(_note_path(target, name, number))
    return shard


def _write_records(
    packing: Packing, partial: Path, number: int, counts: np.ndarray, skipped: list[str]
) -> int:
    """Writes a shard's records, counts their classes, lists what could not be read."""
    writer = open_records("Writer", partial, _WRITER)
    records = 0
    for index in packing.rows(number):
        try:
            image = packing.images.read(index)
            if packing.reencoding is not None:
                image = reencode(image, packing.reencoding)
        except UnreadableImageError as error:
            skipped.append(f"{packing.images.describe(index)}: {error}")
            continue
        targets = packing.labels[index]
        key = packing.images.key(index).encode("utf-8", "backslashreplace").decode()
        writer.write(encode_record(Record(key, targets, image)))
        counts[targets.class_ids] += 1
        records += 1
    writer.close()
    return records
