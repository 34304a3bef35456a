"""Reads every record of a folder of shards and names what is wrong with it."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xception.data.decoding import UnreadableImageError, decode_image
from xception.data.manifest import MANIFEST, Manifest, Shard, parse_manifest, strange_shards
from xception.data.process_pool import process_pool
from xception.data.records import Record, decode_record
from xception.data.shards import array_record, may_fork, open_records

_RECORDS_AT_ONCE = 64


@dataclass(frozen=True)
class ShardFindings:
    """What was found in one shard.

    Attributes:
        problems: A sentence for each.
        places: (n,) int64 numbers of the records that could be read.
        keys: (n,) uint64 hashes of their keys.
        images: (n,) uint64 hashes of their images.
    """

    problems: list[str]
    places: np.ndarray
    keys: np.ndarray
    images: np.ndarray


def verify_shards(
    folder: Path,
    *,
    decode: bool = True,
    workers: int = 1,
    progress: Callable[[int], Any] | None = None,
) -> tuple[Manifest, list[str]]:
    """Finds truncated, changed, missing shards; damaged, duplicate and undecodable records.

    Args:
        folder: The shards with their manifest.
        decode: Whether every image is decoded.
        workers: Processes.
        progress: Called after every shard with the number of its images.

    Returns:
        The manifest, and a sentence for each problem; none if all is well.

    Raises:
        InputError: There is no manifest, or its hash is wrong.
    """
    manifest = parse_manifest(folder / MANIFEST)
    array_record()
    problems = [
        f"{name}: not of the packing {manifest.packing}, which {MANIFEST} describes"
        for name in strange_shards(folder, manifest)
    ]
    found: list[ShardFindings] = []
    jobs = [(folder, shard, len(manifest.class_names), decode) for shard in manifest.shards]
    for shard, findings in zip(manifest.shards, _all(jobs, workers), strict=True):
        problems += findings.problems
        found.append(findings)
        if progress:
            progress(shard.records)
    problems += _duplicates(manifest, found, "keys", "the same key")
    problems += _duplicates(manifest, found, "images", "the same image")
    return manifest, problems


Job = tuple[Path, Shard, int, bool]


def _all(jobs: list[Job], workers: int) -> Iterator[ShardFindings]:
    if workers <= 1 or len(jobs) <= 1:
        yield from map(_verify_job, jobs)
        return
    with process_pool(min(workers, len(jobs)), fork=may_fork()) as pool:
        yield from pool.map(_verify_job, jobs)


def _verify_job(job: Job) -> ShardFindings:
    return verify_shard(*job)


def verify_shard(folder: Path, shard: Shard, num_classes: int, decode: bool) -> ShardFindings:
    """Reads one shard.

    Args:
        folder: Where it lies.
        shard: What the manifest says of it.
        num_classes: Classes in the list.
        decode: Whether every image is decoded.
    """
    path = folder / shard.file
    problems: list[str] = []
    places: list[int] = []
    hashes: list[tuple[int, int]] = []

    def found() -> ShardFindings:
        pairs = np.array(hashes, np.uint64).reshape(-1, 2)
        return ShardFindings(problems, np.array(places, np.int64), pairs[:, 0], pairs[:, 1])

    if not path.is_file():
        problems.append(f"{shard.file}: missing")
        return found()
    size = path.stat().st_size
    if size != shard.bytes:
        how = "truncated" if size < shard.bytes else "longer than packed"
        problems.append(f"{shard.file}: {how}, {size:,} of {shard.bytes:,} bytes")
    else:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                problems.append(f"{shard.file}: changed since it was packed (another hash)")
    try:
        reader = open_records("Reader", path)
        count = reader.num_records()
    except (RuntimeError, ValueError, OSError) as error:
        problems.append(f"{shard.file}: no record can be read ({_short(error)})")
        return found()
    if count != shard.records:
        problems.append(f"{shard.file}: {count:,} records instead of {shard.records:,}")
    for place, stored in _records(reader, count):
        try:
            if isinstance(stored, Exception):
                raise stored
            record = decode_record(stored)
            places.append(place)
            hashes.append((_hash(record.key.encode()), _hash(record.image)))
            _check(record, num_classes)
            if decode:
                decode_image(record.image)
        except UnreadableImageError as error:
            problems.append(f"{shard.file} record {place} ({record.key}): {error}")
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            problems.append(f"{shard.file} record {place}: damaged ({_short(error)})")
    with suppress(RuntimeError):  # what a damaged file raises again
        reader.close()
    return found()


def _records(reader: Any, count: int) -> Iterator[tuple[int, bytes | Exception]]:
    """The records in turn; where several can't be read at once, one by one."""
    for start in range(0, count, _RECORDS_AT_ONCE):
        places = list(range(start, min(start + _RECORDS_AT_ONCE, count)))
        try:
            yield from zip(places, reader.read(places), strict=True)
        except (RuntimeError, ValueError, IndexError, OSError):
            for place in places:
                try:
                    yield place, reader.read([place])[0]
                except (RuntimeError, ValueError, IndexError, OSError) as error:
                    yield place, error


def _check(record: Record, num_classes: int) -> None:
    ids = record.targets.class_ids
    absent = record.targets.absent_ids
    known = ids if absent is None else np.concatenate([ids, absent])
    if not len(known):
        raise ValueError("it has no label")
    if known.min() < 0 or known.max() >= num_classes:
        raise ValueError(f"it has a label outside the {num_classes} classes")
    if len(np.unique(known)) < len(known):
        raise ValueError("it has a label twice")


def _duplicates(manifest: Manifest, found: list[ShardFindings], column: str, how: str) -> list[str]:
    hashes = np.concatenate([getattr(part, column) for part in found])
    shard = np.repeat(np.arange(len(found)), [len(part.places) for part in found])
    places = np.concatenate([part.places for part in found])
    order = np.argsort(hashes, kind="stable")
    again = np.flatnonzero(np.diff(hashes[order]) == 0) + 1

    def name(row: int) -> str:
        return f"{manifest.shards[shard[row]].file} record {places[row]}"

    return [f"{name(order[at])}: {how} as {name(order[at - 1])}" for at in again]


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
