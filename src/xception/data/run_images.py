"""The list of a run's images: made when it begins, followed when it goes on or is evaluated."""

from pathlib import Path
from typing import Any, Literal

from xception.data.catalog import data_names, open_source
from xception.data.folders import EVALUATION_FOLDERS
from xception.data.image_record import ImageRecord, Part, record_files
from xception.data.multi_label import drawn_table, is_multi_label_place
from xception.data.recorded_images import exactly_recorded, record_sources
from xception.data.shards import drawn_manifest, is_shards_place
from xception.data.sources import AnySource, require_one_label
from xception.home import expand_home

Split = Literal["train", "evaluation"]
PART: dict[Split, Part] = {"train": "train", "evaluation": "held-out"}


def place_of(name: str, root: str | None) -> Path | None:
    """The folder or table of the user's that a recipe's data lie in; None for a known data set."""
    if name in data_names():
        return None
    place = root if name in ("folder", "multi-label") else name
    return None if place is None else expand_home(place)


def record_images(
    place: Path | None, train: AnySource, held_out: AnySource, *, tuning: bool
) -> ImageRecord | None:
    """The list of a run's images as they are now; None where nothing can change.

    Of label tables and shards only the file that held-out rows were drawn from is recorded.

    Args:
        place: See `place_of`.
        train: What is trained on.
        held_out: What is held out.
        tuning: Whether the held-out images were drawn out of the training images.
    """
    if place is None:
        return None
    table = None
    if is_shards_place(place):
        table = drawn_manifest(place, tuning=tuning)
    elif place.is_file() or is_multi_label_place(place):
        table = drawn_table(place, tuning=tuning)
    else:
        return record_sources(place, require_one_label(train), require_one_label(held_out))
    if table is None:
        return None
    folder = folder_of(place)
    return record_files(folder, [("table", table.relative_to(folder).as_posix(), "")])


def is_drawn(place: Path, tuning_fraction: float | None) -> bool:
    """Whether held-out images are a share of the others, and not in a place of their own."""
    tuning = tuning_fraction is not None
    if is_shards_place(place):
        return drawn_manifest(place, tuning=tuning) is not None
    if place.is_file() or is_multi_label_place(place):
        return drawn_table(place, tuning=tuning) is not None
    apart = (place / "train").is_dir() and any((place / n).is_dir() for n in EVALUATION_FOLDERS)
    return tuning or not apart


def folder_of(place: Path) -> Path:
    """The folder that recorded paths are relative to."""
    return place.parent if place.is_file() else place


def open_images(
    name: str, split: Split, *, record: ImageRecord | None = None, **keys: Any
) -> AnySource:
    """One part of a run's images: those of its list, in the list's order, or as `open_source`.

    Args:
        name: As of `open_source`.
        split: Which part.
        record: The run's list, where it goes on.
        keys: The other arguments of `open_source`.

    Raises:
        InputError: As of `open_source`; or a listed image is gone.
    """
    place = place_of(name, keys.get("root"))
    if record is not None and place is not None and record.of("train"):
        return exactly_recorded(record, place, PART[split])
    return open_source(name, split, **keys)
