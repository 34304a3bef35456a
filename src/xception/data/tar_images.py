"""Labelled images in tar files, laid out as WebDataset does: files of one name are one sample.

``a/b.jpg`` beside ``a/b.cls`` (a class) or ``a/b.json`` (``{"labels": […]}``, and ``weights`` and
``absent`` where there are some). The tar files are not unpacked: images are read at their place.
"""

import json
import os
import tarfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xception.data.decoding import UnreadableImageError
from xception.data.encoded_images import PackedNames
from xception.data.label_checks import ClassIds, checked_labels
from xception.data.label_tables import LabelTable, RowColumns
from xception.errors import InputError

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_LABELS = (".json", ".cls")


class TarImages:
    """Images at their places in tar files.

    Args:
        files: The tar files.
        keys: One per image.
        file: (n,) which tar file each lies in.
        start: (n,) first byte.
        size: (n,) bytes.
    """

    def __init__(
        self,
        files: Sequence[Path],
        keys: Sequence[str],
        file: np.ndarray,
        start: np.ndarray,
        size: np.ndarray,
    ) -> None:
        self.files, self._keys = list(files), PackedNames(keys)
        self._file, self._start, self._size = file, start, size

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, index: int) -> bytes:
        """The bytes of the image file."""
        try:
            with self.files[self._file[index]].open("rb") as file:
                return os.pread(file.fileno(), int(self._size[index]), int(self._start[index]))
        except OSError as error:
            raise UnreadableImageError(error.strerror or str(error)) from None

    def key(self, index: int) -> str:
        """The sample's name in the tar file."""
        return self._keys[index]

    def size(self, index: int) -> int:
        """Of the file in the tar file."""
        return int(self._size[index])

    def describe(self, index: int) -> str:
        """Tar file and name."""
        return f"{self.files[self._file[index]]}:{self._keys[index]}"


def read_tars(source: Path, class_names: Sequence[str]) -> LabelTable:
    """Finds the samples of a tar file, or of all ``*.tar`` in a folder.

    Raises:
        InputError: No tar file, one that is damaged or compressed, an image without labels, or
            labels that are none.
    """
    files = sorted(source.glob("*.tar")) if source.is_dir() else [source]
    if not files or not all(path.is_file() for path in files):
        raise InputError(f"there is no tar file {source}; give one, or a folder of *.tar")
    classes = ClassIds(class_names)
    columns = RowColumns(classes, words=False)
    keys: list[str] = []
    places = {name: array("q") for name in ("file", "start", "size")}
    for number, path in enumerate(files):
        for key, parts in _samples(path).items():
            image = next((parts[suffix] for suffix in IMAGES if suffix in parts), None)
            if image is None:
                _refuse_dotted(path, parts)
                continue
            where = f"{path}:{key}"
            columns.append({"image": key, **_row(path, parts, classes, where)}, where)
            keys.append(key)
            for name, value in zip(places, (number, image.offset_data, image.size), strict=True):
                places[name].append(value)
    if not keys:
        raise InputError(f"{source} has no image (.jpg, .png, …)")
    present, weights, absent = columns.lists()
    images = TarImages(files, keys, *(np.array(places[name]) for name in places))
    labels = checked_labels(
        present, weights, absent, num_classes=len(class_names), where=images.describe
    )
    return LabelTable(images, labels)


def _samples(path: Path) -> dict[str, dict[str, tarfile.TarInfo]]:
    """For each name without its ending, the files by their endings."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile():
                    folder, _, name = member.name.rpartition("/")
                    stem, _, suffix = name.partition(".")
                    key = f"{folder}/{stem}" if folder else stem
                    samples.setdefault(key, {})[f".{suffix.lower()}"] = member
    except (tarfile.TarError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} can't be read as an uncompressed tar file ({reason}); unpack it"
        ) from None
    return samples


def _refuse_dotted(path: Path, parts: dict[str, tarfile.TarInfo]) -> None:
    """Raises where an image is no sample for a point in its name: silence would lose it.

    Raises:
        InputError: With its name.
    """
    for suffix, member in parts.items():
        if suffix.endswith(IMAGES):
            raise InputError(
                f"{path}:{member.name} has a point in its name, which ends at the first one in "
                f"such files ('{suffix}' counts as its kind): rename it, and the file of its labels"
            )


def _row(
    path: Path, parts: dict[str, tarfile.TarInfo], classes: ClassIds, where: str
) -> dict[str, Any]:
    """The labels of a sample, as a row of a label table."""
    found = next((suffix for suffix in _LABELS if suffix in parts), None)
    if found is None:
        raise InputError(f"{where} has an image, but neither .json nor .cls with its labels")
    with path.open("rb") as file:
        text = os.pread(file.fileno(), parts[found].size, parts[found].offset_data)
    try:
        word = text.decode("utf-8").strip()
        if found == ".cls":
            return {"labels": [classes.of_word(word, where)]}
        row = json.loads(word)
        if not isinstance(row, dict) or "labels" not in row:
            raise ValueError("it lacks labels")
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where}{found} can't be understood: {reason}") from None
    return {name: row[name] for name in ("labels", "weights", "absent") if name in row}
