"""From files, folders and globs to the images that are meant."""

import os
from collections.abc import Iterable, Iterator
from glob import has_magic, iglob
from pathlib import Path

from xception.data.folders import SUFFIXES
from xception.errors import InputError, nearest


def find_images(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Finds what is to be classified, in a fixed order, without holding it all in memory.

    Args:
        paths: Each is a file (taken whatever its ending), a folder (searched with its subfolders
            for files with an image's ending; links are followed, names that begin
            with a dot left out) or a glob (``**`` for any depth;
            a folder that it matches is searched too). A name that exists is never a glob.

    Yields:
        Paths. Some of them may turn out to be unreadable: one that does not exist, a glob without
        a match, a folder with an image's ending.
    """
    for given in paths:
        path = Path(given)
        if os.path.lexists(path) or not has_magic(str(given)):
            yield from _walk(path, named=True)
        else:
            yield from _matches(str(given))


def require_images(paths: Iterable[str | Path]) -> int:
    """Counts what :func:`find_images` will find.

    Raises:
        InputError: There is nothing to read at all: no such file, no image in the folder, no
            match of the glob.
    """
    given = [str(path) for path in paths]
    if not given:
        raise InputError("there is no image to classify; give files, folders or globs")
    count, there = 0, False
    for path in find_images(given):
        count += 1
        there = there or os.path.exists(path)  # noqa: PTH110 (Path.exists fails on long names)
    if there:
        return count
    raise InputError(_why_nothing(given[0]))


def _why_nothing(given: str) -> str:
    from xception.data.shards import is_shards_place

    path = Path(given)
    if os.path.isdir(path):  # noqa: PTH112
        if is_shards_place(path):
            return f"{given} holds packed images, which xception evaluate takes: give image files"
        return f"there is no image in the folder {given}; give a folder with images"
    if has_magic(given):
        return f"no file matches '{given}'; check the pattern"
    siblings = sorted(os.listdir(path.parent)) if path.parent.is_dir() else []  # noqa: PTH208
    return f"there is no file or folder '{given}'{nearest(path.name, siblings)}"


def _matches(pattern: str) -> Iterator[Path]:
    """What a glob matches, sorted; the pattern itself when nothing does."""
    deep = "**" in pattern  # then the files inside a matched folder are matches themselves
    matched = False
    for name in sorted(iglob(pattern, recursive=True)):  # noqa: PTH207 (takes any path)
        path = Path(name)
        if path.is_dir() and deep and path.suffix.lower() not in SUFFIXES:
            continue
        for found in _walk(path, named=True):
            matched = True
            yield found
    if not matched:
        yield Path(pattern)


def _walk(path: Path, *, named: bool, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """A file itself, or the images under a folder, each folder's entries in sorted order.

    Args:
        path: Where to start.
        named: The user or a pattern named this path: a file's ending does not matter.
        above: Identities of the folders on the way here, against links that go in circles.
    """
    looks_like_image = path.suffix.lower() in SUFFIXES
    if looks_like_image or not os.path.isdir(path):  # noqa: PTH112
        if looks_like_image or named:
            yield path
        return
    status = path.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208 (no Path objects for millions of names)
    except OSError:
        yield path  # reading it will tell the reason
        return
    for name in names:
        if name.startswith("."):  # as a shell's * does: macOS and editors leave such files behind
            continue
        yield from _walk(path / name, named=False, above=(*above, identity))
