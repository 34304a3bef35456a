"""Images in ArrayRecord shards, by index: the source for hundreds of millions of them.

The labels are in the records, so that a process keeps a name for each shard and nothing for an
image. Files are opened when the first record is read, in the process that reads it.
"""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from xception.data.decoding import UnreadableImageError, decode_image
from xception.data.encoded_images import PackedNames
from xception.data.manifest import MANIFEST, Manifest, read_manifest
from xception.data.multi_label import TABLE_NAMES, Split, split_rows
from xception.data.records import Record, decode_record
from xception.data.targets import ImageTargets
from xception.errors import InputError

_FILES_OPEN = 128
_RECORDS_OPEN = 2**19  # an open file holds 8 bytes for each of its records
_INHERITED: list[dict[int, Any]] = []  # readers that a fork has copied, never to be touched
_RANDOM_ACCESS = "readahead_buffer_size:0,max_parallelism:0"


def array_record() -> Any:
    """The module with ArrayRecord's reader and writer.

    Raises:
        InputError: It is not installed.
    """
    try:
        from array_record.python import array_record_module
    except ImportError:
        raise InputError(
            "shards need ArrayRecord: pip install 'xception[records]', or use label tables"
        ) from None
    return array_record_module


_THREADED: set[int] = set()
"""Processes in which ArrayRecord has started its threads."""


def open_records(kind: Literal["Reader", "Writer"], path: Path, options: str = "") -> Any:
    """An ArrayRecord file; with the first one its library starts threads in this process.

    Args:
        kind: To read it or to write it.
        path: Of the file.
        options: ArrayRecord's.
    """
    _THREADED.add(os.getpid())
    return getattr(array_record(), f"ArrayRecord{kind}")(str(path), options)


def may_fork() -> bool:
    """Whether no file of records was opened in this process: a fork takes no threads along."""
    return os.getpid() not in _THREADED


class ShardRecords:
    """The records of all shards, by index.

    Args:
        folder: Where the shards lie.
        manifest: What they are.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        # A run at JFT's size has 85,000 shards: of each, the name alone is kept.
        self.folder, self.manifest = folder, replace(manifest, shards=[])
        self._files = PackedNames([shard.file for shard in manifest.shards])
        self._ends = np.cumsum([shard.records for shard in manifest.shards], dtype=np.int64)
        self._images = manifest.images
        largest = max((shard.records for shard in manifest.shards), default=0)
        self._files_open = max(1, min(_FILES_OPEN, _RECORDS_OPEN // max(1, largest)))
        self._readers: dict[int, Any] = {}
        self._process = -1

    def __len__(self) -> int:
        return self._images

    def place(self, index: int) -> tuple[int, int]:
        """Shard and record in it."""
        index = range(len(self))[index]
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, index - (int(self._ends[shard - 1]) if shard else 0)

    def __getitem__(self, index: int) -> Record:
        """One record.

        Raises:
            UnreadableImageError: It is damaged.
        """
        shard, place = self.place(index)
        try:
            return decode_record(self._reader(shard).read([place])[0])
        except (ValueError, IndexError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UnreadableImageError(f"the record is damaged ({reason})") from None

    def _reader(self, shard: int) -> Any:
        if self._process != os.getpid():  # an open file must not be shared by a fork
            # Nor closed by it: the readers' threads exist in the parent alone. They are kept.
            _INHERITED.append(self._readers)
            self._readers, self._process = {}, os.getpid()
        if shard not in self._readers:
            while len(self._readers) >= self._files_open:
                with suppress(RuntimeError):  # a damaged file raises once more
                    self._readers.pop(next(iter(self._readers))).close()
            path = self.folder / self._files[shard]
            self._readers[shard] = open_records("Reader", path, _RANDOM_ACCESS)
        return self._readers[shard]

    def describe(self, index: int) -> str:
        """Shard and number of the record."""
        shard, place = self.place(index)
        return f"{self.folder / self._files[shard]} record {place}"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_readers": {}, "_process": -1}


class ShardImages:
    """The images of shards as a source, with one label each or several, as they were packed.

    Args:
        records: The records.
        rows: Which of them; all by default.

    Attributes:
        forkable: False: ArrayRecord has threads of its own, which no fork takes along. A loader
            process that was forked while they worked has crashed.
    """

    forkable = False

    def __init__(self, records: ShardRecords, rows: np.ndarray | None = None) -> None:
        self.records, self.rows = records, rows
        self.class_names = list(records.manifest.class_names)
        self.multi_label = records.manifest.multi_label

    def __len__(self) -> int:
        return len(self.records) if self.rows is None else len(self.rows)

    def _row(self, index: int) -> int:
        index = range(len(self))[index]
        return index if self.rows is None else int(self.rows[index])

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        encoded, label = self.encoded(index)
        return decode_image(encoded), label

    def encoded(self, index: int) -> tuple[bytes, Any]:
        """The bytes of the image file, and the label."""
        record = self.records[self._row(index)]
        return record.image, self._label(record.targets)

    def _label(self, targets: ImageTargets) -> int | ImageTargets:
        return targets if self.multi_label else int(targets.class_ids[0])

    @property
    def labels(self) -> np.ndarray:
        """(len,) int64 labels of images with one each; every record is read for them."""
        assert not self.multi_label
        rows = range(len(self.records)) if self.rows is None else self.rows
        return np.array([self.records[int(row)].targets.class_ids[0] for row in rows], np.int64)

    def describe(self, index: int) -> str:
        """Shard and number of the record."""
        return self.records.describe(self._row(index))


def is_shards_place(path: Path) -> bool:
    """Whether a folder holds shards, or a folder ``train`` of them."""
    return (path / MANIFEST).is_file() or (path / "train" / MANIFEST).is_file()


def open_shards(
    root: Path, split: Split, *, validation_fraction: float | None = None, seed: int = 0
) -> ShardImages:
    """Opens one split of packed images.

    Args:
        root: A folder with ``train/`` and ``validation/`` (or ``val/``, ``test/``), each a folder
            of shards; or a single folder of shards.
        split: The images to train on, or those held out.
        validation_fraction: Of a single folder: the share of its images that is held out. None:
            both splits are all of them.
        seed: Chooses what is held out.

    Raises:
        InputError: No manifest, or one that `read_manifest` refuses; splits of other classes.
    """
    if (root / MANIFEST).is_file():
        records = ShardRecords(root, read_manifest(root))
        rows = None
        if validation_fraction is not None:
            rows = split_rows(len(records), validation_fraction, seed, split)
        return ShardImages(records, rows)
    folders = {
        part: next((root / n for n in TABLE_NAMES[part] if (root / n / MANIFEST).is_file()), None)
        for part in TABLE_NAMES
    }
    train, held_out = folders["train"], folders["evaluation"]
    if train is None:
        raise InputError(f"there is no {root / MANIFEST}; pack shards there (xception data pack)")
    if held_out is None:
        return open_shards(train, split, validation_fraction=validation_fraction, seed=seed)
    manifests = {"train": read_manifest(train), "evaluation": read_manifest(held_out)}
    if len({(tuple(m.class_names), m.multi_label) for m in manifests.values()}) > 1:
        raise InputError(
            f"{train} and {held_out} were packed with different classes; pack both with one "
            "class list (--classes)"
        )
    return ShardImages(ShardRecords(train if split == "train" else held_out, manifests[split]))


def drawn_manifest(root: Path, *, tuning: bool) -> Path | None:
    """The manifest of the shards that held-out images are drawn from; None where none are.

    Args:
        root: As of `open_shards`.
        tuning: Whether images are held out of the training shards in any case.
    """
    if (root / MANIFEST).is_file():
        return root / MANIFEST
    apart = any((root / name / MANIFEST).is_file() for name in TABLE_NAMES["evaluation"])
    return root / "train" / MANIFEST if tuning or not apart else None
