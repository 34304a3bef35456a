"""``images.csv`` of a run: which images it trained on and which it held out, known by their bytes.

The folder of the images is the user's, and changes: a run goes on, and is evaluated, by this list.
Of a label table or packed shards whose held-out rows were drawn, the list has the table alone.
"""

import csv
import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from xception.data.csv_rows import csv_line
from xception.data.file_sizes import size_of
from xception.errors import InputError
from xception.weights.atomic import replacing

Part = Literal["train", "held-out", "unused", "table"]
COLUMNS = ("part", "path", "class", "bytes", "sha256")
MOST_BYTES = 64 << 30
"""Of all images together; more are known by their names and sizes alone: reading takes minutes."""


class RecordedImage(NamedTuple):
    """One file as it was when the run began.

    Attributes:
        part: Trained on, held out, unused, or a table that rows were held out of.
        path: Relative to the folder of the data, with "/".
        class_name: Of the image; empty for a table.
        bytes: Its size, or `UNREADABLE`.
        sha256: Of its bytes, hexadecimal; empty where they were not read.
    """

    part: str
    path: str
    class_name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ImageRecord:
    """All images of a run.

    Attributes:
        images: In the order in which the run knows them.
    """

    images: list[RecordedImage]

    def of(self, part: Part) -> list[RecordedImage]:
        """One part's images, in their order."""
        return [image for image in self.images if image.part == part]

    @property
    def class_names(self) -> list[str]:
        """The classes of the training images, sorted, as a folder's are."""
        return sorted({image.class_name for image in self.images if image.part == "train"})

    def twins(self) -> list[tuple[str, str]]:
        """Held-out images with the same bytes as a training image: the paths of both."""
        return self.twins_of(self)

    def twins_of(self, other: "ImageRecord") -> list[tuple[str, str]]:
        """Another record's held-out images with the bytes of a training image of this one."""
        trained = {image.sha256: image.path for image in self.of("train") if image.sha256}
        return [
            (image.path, trained[image.sha256])
            for image in other.of("held-out")
            if image.sha256 in trained
        ]

    def contradictions(self) -> list[tuple[str, str]]:
        """Images with the bytes of an earlier one of another class: the paths of both."""
        first: dict[str, RecordedImage] = {}
        found = []
        for image in self.images:
            if image.sha256:
                known = first.setdefault(image.sha256, image)
                if known.class_name != image.class_name:
                    found.append((image.path, known.path))
        return found


def record_files(
    root: Path, files: Sequence[tuple[Part, str, str]], most_bytes: int = MOST_BYTES
) -> ImageRecord:
    """Makes the record of files as they are now.

    Args:
        root: The folder that paths are relative to.
        files: Part, path and class of each.
        most_bytes: Up to which size of all files together their bytes are read.
    """
    paths = [root / path for _, path, _ in files]
    sizes = [size_of(path) for path in paths]
    read = sum(size for size in sizes if size > 0) <= most_bytes
    digests = digests_of(paths) if read else [""] * len(paths)
    return ImageRecord(
        [
            RecordedImage(part, path, class_name, size, digest)
            for (part, path, class_name), size, digest in zip(files, sizes, digests, strict=True)
        ]
    )


def digests_of(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """The SHA-256 of each file, hexadecimal; empty where it can't be read."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:  # hashing lets go of the GIL
        return list(pool.map(_digest, paths))


def _digest(path: str | os.PathLike[str]) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def write_record(record: ImageRecord, path: Path) -> None:
    """Writes ``images.csv``, whole or not at all."""
    with (
        replacing(path) as partial,
        # File names are bytes, not always UTF-8.
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        file.writelines(csv_line(row) for row in (COLUMNS, *record.images))


def read_record(path: Path) -> ImageRecord | None:
    """Reads an ``images.csv``; None where there is none.

    Raises:
        InputError: It is damaged.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file)
            if tuple(next(rows, ())) != COLUMNS:
                raise ValueError("its heading is another one")
            images = [
                RecordedImage(part, name, class_name, int(size), digest)
                for part, name, class_name, size, digest in rows
            ]
            _require_whole(images)
            return ImageRecord(images)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}, the list of the run's images, is damaged ({error}); restore it, or train anew"
        ) from None


def _require_whole(images: list[RecordedImage]) -> None:
    """Raises a ``ValueError`` where a list can't be one that `write_record` wrote."""
    seen: set[str] = set()
    trained = {image.class_name for image in images if image.part == "train"}
    for image in images:
        if image.part not in get_args(Part):
            raise ValueError(f"there is no part '{image.part}'")
        if image.path in seen:
            raise ValueError(f"{image.path} is there twice")
        if image.part == "held-out" and image.class_name not in trained:
            raise ValueError(f"no training image has the class '{image.class_name}'")
        seen.add(image.path)
