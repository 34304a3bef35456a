"""The images of an ``images.csv`` in a folder that may have changed since.

An image is known by its bytes: where its name changed, it is found under the new one; where another
file took its name, it counts as gone. What the list does not know is new, and is neither trained
on nor held out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xception.data.file_sizes import size_of
from xception.data.folders import list_images
from xception.data.image_record import (
    ImageRecord,
    Part,
    RecordedImage,
    digests_of,
    record_files,
)
from xception.data.sources import FileSource, ImageSource
from xception.errors import InputError, count_of
from xception.home import expand_home


def exactly_recorded(record: ImageRecord, root: str | Path, part: Part) -> FileSource:
    """One part's images in the record's order, for a run that goes on.

    Args:
        record: The run's list.
        root: Where the images lie now.
        part: Which.

    Raises:
        InputError: One of them is gone, or has another size.
    """
    folder, images = expand_home(root), record.of(part)
    lost = [image.path for image in images if size_of(folder / image.path) != image.bytes]
    _refuse_lost(lost, len(images), part, folder)
    return _source(folder, [(image.path, image.class_name) for image in images], record.class_names)


def require_unchanged(record: ImageRecord, root: str | Path) -> None:
    """Reads all recorded files, and raises where one has other bytes than when the run began.

    Raises:
        InputError: With how many, and their first.
    """
    folder = expand_home(root)
    for part in ("train", "held-out", "table"):
        images = record.of(part)
        known = [image for image in images if image.sha256]
        digests = digests_of(folder / image.path for image in known)
        lost = [i.path for i, digest in zip(known, digests, strict=True) if i.sha256 != digest]
        _refuse_lost(lost, len(images), part, folder)


def _refuse_lost(lost: list[str], among: int, part: Part, folder: Path) -> None:
    if lost and part == "table":
        raise InputError(
            f"{folder / lost[0]} is gone or has changed since the run drew its held-out images "
            "from it, so that they can't be told from the others any more; put it back, or start "
            "anew"
        )
    if lost:
        kind = "training" if part == "train" else "held-out"
        raise InputError(
            f"{len(lost):,} of the run's {count_of(among, f'{kind} image')} in {folder} "
            f"{'is' if len(lost) == 1 else 'are'} gone or changed since it began (the first: "
            f"{lost[0]}); put them back, tell their new place with --data.root, or start anew "
            "with --overwrite"
        )


@dataclass(frozen=True)
class Found:
    """What a folder holds of a run's images now.

    Attributes:
        images: The images of the part that was looked for, in the record's order.
        recorded: How many the record has of it.
        renamed: How many of ``images`` have another name than then.
        missing: The recorded paths of those that are gone, or have other bytes.
        new: The images that the record does not know.
    """

    images: FileSource
    recorded: int
    renamed: int
    missing: list[str]
    new: FileSource


def find_recorded(record: ImageRecord, root: str | Path, part: Part) -> Found:
    """Looks for the images of one part.

    Args:
        record: The run's list.
        root: Where the images lie now.
        part: Which.

    Raises:
        InputError: There is no such folder.
    """
    folder = expand_home(root)
    now = dict(list_images(folder))  # path → class
    wanted = {image.path: image for image in record.of(part)}
    others = {image.path: image for image in record.images if image.part != part}
    sizes = {path: size_of(folder / path) for path in now}
    same_name = [path for path in now if path in wanted and sizes[path] == wanted[path].bytes]
    found: dict[str, str] = {}  # recorded path → path now
    for path, digest in _digests(folder, [p for p in same_name if wanted[p].sha256]):
        if wanted[path].sha256 == digest:
            found[path] = path
    found |= {path: path for path in same_name if not wanted[path].sha256}
    sought: dict[str, list[RecordedImage]] = {}
    for image in wanted.values():
        if image.path not in found and image.sha256:
            sought.setdefault(image.sha256, []).append(image)
    sought_sizes = {image.bytes for images in sought.values() for image in images}
    known = {image.sha256 for image in record.images if image.sha256}
    taken, new = set(found.values()), []
    rest = [path for path in now if path not in taken]
    of_others = {p for p in rest if p in others and sizes[p] == others[p].bytes}
    to_read = [path for path in rest if path not in of_others or sizes[path] in sought_sizes]
    for path, digest in _digests(folder, to_read):
        if digest in sought:
            twins = sought[digest]
            image = next((i for i in twins if i.class_name == now[path]), twins[0])
            found[image.path] = path
            twins.remove(image)
            if not twins:
                del sought[digest]
        elif digest not in known and path not in of_others:
            new.append(path)
    names = sorted({*record.class_names, *(now[path] for path in found.values())})
    return Found(
        images=_source(folder, [(found[p], now[found[p]]) for p in wanted if p in found], names),
        recorded=len(wanted),
        renamed=sum(before != after for before, after in found.items()),
        missing=[path for path in wanted if path not in found],
        new=_source(
            folder,
            [(path, now[path]) for path in new],
            sorted({*record.class_names, *(now[path] for path in new)}),
        ),
    )


def trained_on(record: ImageRecord, paths: list[str]) -> list[str]:
    """Those of some files that have the bytes of an image that the run trained on.

    Args:
        record: The run's list.
        paths: Files, anywhere.
    """
    trained = {image.sha256 for image in record.of("train") if image.sha256}
    sizes = {image.bytes for image in record.of("train")}
    candidates = [path for path in paths if size_of(path) in sizes]
    digests = digests_of(candidates) if trained else []
    return [path for path, digest in zip(candidates, digests, strict=False) if digest in trained]


def record_sources(root: str | Path, train: ImageSource, held_out: ImageSource) -> ImageRecord:
    """The record of a run's images as they are now; other images of the folder are unused.

    Args:
        root: The folder of the data.
        train: What is trained on.
        held_out: What is held out.
    """
    folder = expand_home(root)
    files: list[tuple[Part, str, str]] = []
    parts: tuple[tuple[Part, ImageSource], ...] = (("train", train), ("held-out", held_out))
    for part, source in parts:
        for index in range(len(source)):
            path = Path(source.describe(index)).relative_to(folder).as_posix()
            files.append((part, path, source.class_names[source.labels[index]]))
    used = {path for _, path, _ in files}
    unused = [
        RecordedImage("unused", path, class_name, size_of(folder / path), "")
        for path, class_name in list_images(folder)
        if path not in used
    ]
    return ImageRecord([*record_files(folder, files).images, *unused])


def _digests(folder: Path, paths: list[str]) -> Iterator[tuple[str, str]]:
    return zip(paths, digests_of(folder / path for path in paths), strict=True)


def _source(folder: Path, images: list[tuple[str, str]], class_names: list[str]) -> FileSource:
    place = {name: index for index, name in enumerate(class_names)}
    labels = [place[class_name] for _, class_name in images]
    return FileSource(folder, [path for path, _ in images], labels, class_names)
