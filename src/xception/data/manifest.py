"""``manifest.json`` beside the shards: what they hold, and that they are all of one packing."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xception.data.class_lists import require_class_names
from xception.errors import InputError
from xception.weights.atomic import replacing

MANIFEST = "manifest.json"
SHARD_SUFFIX = ".array_record"
_FORMAT, _VERSION = "xception-shards", 1


@dataclass(frozen=True)
class Shard:
    """One file of records.

    Attributes:
        file: Its name.
        records: How many there are in it.
        bytes: Its size.
        sha256: Of the whole file.
        skipped: Images that were left out when packing: "key: reason".
    """

    file: str
    records: int
    bytes: int
    sha256: str
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reencoding:
    """How images were encoded anew, which changes their pixels.

    Attributes:
        short_side: Height or width, whichever is less, that larger images were shrunk to; pixels.
        quality: Of the JPEG, 1 to 100.
    """

    short_side: int
    quality: int = 90


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Attributes:
        packing: Names the packing: a hash of source, labels and options.
        class_names: One name per class.
        multi_label: Whether an image has several labels.
        reencoding: How images were encoded anew; None: their files are kept as they were.
        shards: The files, in the order of their records.
        images_per_class: How many images have each class.
    """

    packing: str
    class_names: list[str]
    multi_label: bool
    reencoding: Reencoding | None
    shards: list[Shard]
    images_per_class: list[int]

    @property
    def images(self) -> int:
        """How many images there are in all."""
        return sum(shard.records for shard in self.shards)


def shard_name(packing: str, number: int, count: int) -> str:
    """The file name of a shard.

    Example:
        >>> shard_name("0123abcd", 2, 16)
        'shard-0123abcd-00002-of-00016.array_record'
    """
    return f"shard-{packing}-{number:05d}-of-{count:05d}{SHARD_SUFFIX}"


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Writes ``manifest.json``, with a hash of its own content."""
    content = {"format": _FORMAT, "version": _VERSION, **asdict(manifest)}
    content["sha256"] = _digest(content)
    path = folder / MANIFEST
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def read_manifest(folder: Path) -> Manifest:
    """Reads ``manifest.json`` and checks that the shards beside it are those that it lists.

    Their content is not read: ``xception data verify`` does.

    Raises:
        InputError: There is none, its hash is wrong, a shard is missing or has another size, or
            there are shards of another packing beside it.
    """
    path = folder / MANIFEST
    manifest = parse_manifest(path)
    require_class_names(manifest.class_names, str(path))
    for shard in manifest.shards:
        file = folder / shard.file
        if not file.is_file():
            raise InputError(f"{file} is missing, which {MANIFEST} lists; copy or pack it again")
        if file.stat().st_size != shard.bytes:
            raise InputError(
                f"{file} has {file.stat().st_size:,} bytes and {MANIFEST} says {shard.bytes:,}; it "
                "is truncated or of another packing: copy or pack it again"
            )
    for name in strange_shards(folder, manifest):
        raise InputError(
            f"{folder / name} is not of the packing {manifest.packing} that {MANIFEST} "
            "describes; keep each packing in a folder of its own"
        )
    return manifest


def strange_shards(folder: Path, manifest: Manifest) -> list[str]:
    """The names of shards that the manifest does not list."""
    listed = {shard.file for shard in manifest.shards}
    return sorted(f.name for f in folder.glob(f"*{SHARD_SUFFIX}") if f.name not in listed)


def parse_manifest(path: Path) -> Manifest:
    """Reads a ``manifest.json``, whatever lies beside it.

    Raises:
        InputError: There is none, it is no manifest, or its hash is wrong.
    """
    if not path.is_file():
        raise InputError(f"there is no {path}; pack the shards to the end (xception data pack)")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("sha256") != _digest(content):
            raise InputError(
                f"{path} was changed: its content does not have the hash that it states; copy it "
                "again, or pack again"
            )
        if (content.pop("format"), content.pop("version")) != (_FORMAT, _VERSION):
            raise InputError(f"{path} is of another format or version; pack again")
        reencoding = content.pop("reencoding")
        shards = [Shard(**shard) for shard in content.pop("shards")]
        again = None if reencoding is None else Reencoding(**reencoding)
        return Manifest(reencoding=again, shards=shards, **content)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{path} is not a manifest of shards; copy it again, or pack again"
        ) from None


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
