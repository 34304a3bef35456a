"""Image folders: ``train/<class>/…`` and ``val/<class>/…``, or ``<class>/…`` and a share held out.

A class is a folder; its name is the class's name; classes are sorted. Images may lie in folders
below their class's. Files that are not called like images, and hidden files, are passed over; what
is called like an image but is none counts, and is reported when it is read.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from xception.data.class_lists import is_text
from xception.data.encoded_images import ImageFiles
from xception.data.held_out import held_out_by_name, held_out_by_position
from xception.data.sources import FileSource, Subset
from xception.data.targets import Ragged, SparseLabels
from xception.errors import InputError
from xception.home import expand_home

_COMMON = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_RARE = (".jpe", ".jfif", ".ppm", ".pgm", ".pbm", ".avif", ".jp2", ".jxl", ".heic", ".heif")
SUFFIXES = frozenset(_COMMON + _RARE)
"""Endings of the names of image files, in lower case; what no decoder here reads is reported."""

_NAMED = 10  # of folders without images, in a message

EVALUATION_FOLDERS = ("val", "validation", "valid", "test")
"""Names of the held-out folder beside ``train/``, in the order in which they are looked for."""


def open_folder(
    root: str | os.PathLike[str],
    split: Literal["train", "evaluation"],
    *,
    validation_fraction: float | None = None,
    seed: int = 0,
    by_position: bool = False,
) -> FileSource | Subset:
    """Opens one split of a folder of images.

    With ``train/`` and one of ``val/``, ``validation/``, ``valid/``, ``test/``, the splits are
    these. Otherwise the classes lie in ``train/`` or in ``root`` itself, and the evaluation gets a
    seeded share of each class (`held_out_by_name`), the training the rest.

    Args:
        root: The folder.
        split: Which part.
        validation_fraction: Share of each class that is held out where there is no folder for it,
            in (0, 1). With None, both splits are all the images.
        seed: Chooses the images that are held out.
        by_position: Draws the share as runs without a list of their images did.

    Raises:
        InputError: The folder is missing or empty, or a class has no images.
    """
    root = expand_home(root)
    try:
        return _open_folder(root, split, validation_fraction, seed, by_position)
    except OSError as error:
        raise InputError(
            f"the folder {error.filename or root} can't be read ({error.strerror}); check it"
        ) from None


def _open_folder(
    root: Path,
    split: Literal["train", "evaluation"],
    fraction: float | None,
    seed: int,
    by_position: bool,
) -> FileSource | Subset:
    require_folder(root)
    train = root / "train"
    held_out = [root / name for name in EVALUATION_FOLDERS if (root / name).is_dir()]
    if held_out and train.is_dir():
        classes = class_folders(train)
        if split == "train":
            return scan_classes(train, classes)
        return scan_classes(held_out[0], _known_classes(held_out[0], classes), classes)
    if held_out and split == "evaluation" and not _has_classes_beside(root):
        return scan_classes(held_out[0], class_folders(held_out[0]))
    if not train.is_dir():
        for part in held_out:
            _refuse_part_as_class(root, part, split)
    folder = train if train.is_dir() else root
    source = scan_classes(folder, class_folders(folder))
    if fraction is None:
        return source
    if by_position:
        chosen = held_out_by_position(source.labels, fraction, seed)
    else:
        chosen = held_out_by_name(source.names(), source.labels, fraction, seed)
    if split == "train":
        chosen = np.setdiff1d(np.arange(len(source)), chosen)
    return Subset(source, chosen)


def _refuse_part_as_class(root: Path, part: Path, split: Literal["train", "evaluation"]) -> None:
    """What a folder called val/ beside class folders is, where there is no train/.

    A warning comes with the training images alone: both splits are opened for a run.

    Raises:
        InputError: It holds some of the same classes: it is no class, but a held-out part.
    """
    classes = set(_visible_folders(root)) - set(EVALUATION_FOLDERS)
    shared = sorted(classes & set(_visible_folders(part)))
    if shared:
        raise InputError(
            f"{part} holds a folder {shared[0]} as {root} does, so it seems to be the held-out "
            f"part, and there is no train/ beside it: move the class folders into {root / 'train'}"
        )
    if classes and split == "train":
        warnings.warn(
            f"{part} counts as a class called {part.name}: there is no train/ beside it. If it is "
            f"a held-out part, move the other folders into {root / 'train'}",
            stacklevel=2,
        )


def require_folder(root: Path) -> None:
    """Raises an ``InputError`` where there is no such folder, or nothing in it."""
    if not root.exists():
        raise InputError(f"there is no folder {root}; check the path")
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give the one that holds a folder per class")
    if not any(root.iterdir()):
        raise InputError(f"the folder {root} is empty; put a folder of images per class into it")


def class_folders(folder: Path) -> list[str]:
    """The names of the classes: the visible folders in a folder, sorted.

    Raises:
        InputError: There are none, or one whose name is no text.
    """
    names = _visible_folders(folder)
    if not names:
        raise InputError(
            f"{folder} holds no folders; images belong into one folder per class, "
            f"like {folder}/cat/1.jpg"
        )
    for name in names:
        if not is_text(name):
            raise InputError(
                f"the class folder {os.fsencode(folder / name)!r} is not called in UTF-8, and no "
                "weights file could hold the name of its class; rename it"
            )
    return names


def _visible_folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def scan_classes(
    folder: Path, folders: list[str], class_names: list[str] | None = None
) -> FileSource:
    """Lists the images of some class folders.

    Args:
        folder: Where the class folders lie.
        folders: Their names.
        class_names: All the classes, if there are more than ``folders``.

    Raises:
        InputError: A class folder without images.
    """
    names = folders if class_names is None else class_names
    paths: list[str] = []
    labels: list[int] = []
    bare: list[Path] = []
    for class_folder in folders:
        before = len(paths)
        paths.extend(_images_below(folder, class_folder))
        labels.extend([names.index(class_folder)] * (len(paths) - before))
        if len(paths) == before:
            bare.append(folder / class_folder)
    if bare:
        several = len(bare) > 1
        more = f" and {len(bare) - _NAMED:,} more" if len(bare) > _NAMED else ""
        raise InputError(
            f"the class folder{'s' if several else ''} {', '.join(map(str, bare[:_NAMED]))}{more} "
            f"{'have' if several else 'has'} no images ({', '.join(_COMMON)}, …); add some or "
            f"remove the folder{'s' if several else ''}"
        )
    return FileSource(folder, paths, labels, names)


def list_images(root: Path) -> Iterator[tuple[str, str]]:
    """Every image of a folder, whichever its part, with its class: paths relative to ``root``.

    Raises:
        InputError: The folder is missing or empty.
    """
    require_folder(root)
    parts = ("train", *EVALUATION_FOLDERS) if (root / "train").is_dir() else (".",)
    for part in parts:
        for name in _visible_folders(root / part) if (root / part).is_dir() else []:
            for path in _images_below(root / part, name):
                yield (path if part == "." else f"{part}/{path}"), name


def loose_images(root: Path) -> list[Path]:
    """Images that lie beside class folders, and so have no class: no part of any data.

    Raises:
        InputError: The folder is missing or empty.
    """
    require_folder(root)
    parts = ("train", *EVALUATION_FOLDERS) if (root / "train").is_dir() else ()
    places = [root / name for name in parts if (root / name).is_dir()]
    return [
        Path(entry.path)
        for place in [root, *places]
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name)
        if _is_image(entry.name) and not entry.is_dir()
    ]


def _is_image(name: str) -> bool:
    """Whether a visible file is called like an image."""
    return not name.startswith(".") and "." + name.rpartition(".")[2].lower() in SUFFIXES


def _images_below(folder: Path, class_folder: str) -> Iterator[str]:
    """The paths, relative to ``folder``, of a class's images, in sorted order."""
    status = (folder / class_folder).stat()
    seen = {(status.st_dev, status.st_ino)}  # folders, against links that lead back up
    pending = [class_folder]
    while pending:
        relative = pending.pop()
        with os.scandir(folder / relative) as found:
            entries = sorted(found, key=lambda entry: entry.name, reverse=True)
        below = []
        images = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{relative}/{entry.name}"
            # A folder called x.jpg counts as an image that can't be read: it is reported.
            if _is_image(entry.name):
                images.append(path)
            elif entry.is_dir():
                status = entry.stat()
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    below.append(path)
        yield from reversed(images)
        pending.extend(below)


def _known_classes(folder: Path, classes: list[str]) -> list[str]:
    """The class folders of the held-out folder, each of which the training knows."""
    found = class_folders(folder)
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise InputError(
            f"the class folder {folder / unknown[0]} has no counterpart in "
            f"{folder.parent / 'train'}; add one or remove it"
        )
    return found


def _has_classes_beside(root: Path) -> bool:
    """Whether a folder holds more class folders than those called like a split."""
    return bool(set(class_folders(root)) - set(EVALUATION_FOLDERS))


def read_class_folders(
    folder: Path, class_names: list[str] | None = None
) -> tuple[ImageFiles, SparseLabels, list[str]]:
    """The image files of a folder of class folders, each with its one label, and the classes.

    Args:
        folder: Holds one folder of images per class.
        class_names: The classes in their order; None: the folders' names, sorted.

    Raises:
        InputError: No folder, a class folder without images or with a name that is not listed.
    """
    require_folder(folder)
    folders = class_folders(folder)
    names = folders if class_names is None else class_names
    for name in folders:
        if name not in names:
            raise InputError(f"the class folder {folder / name} is not in the class list")
    found = scan_classes(folder, folders, names)
    paths = [os.path.relpath(found.describe(index), folder) for index in range(len(found))]
    labels = Ragged(np.arange(len(paths) + 1, dtype=np.int64), found.labels)
    return ImageFiles(folder, paths), SparseLabels(labels), names
