"""``images.csv`` of a run: written when it begins, obeyed when it goes on."""

import sys
from pathlib import Path
from typing import Any

from xception.data.folders import list_images, loose_images
from xception.data.image_record import ImageRecord, read_record, write_record
from xception.data.module import ImageData
from xception.data.recorded_images import require_unchanged
from xception.data.run_images import folder_of, place_of, record_images
from xception.errors import InputError, count_of
from xception.home import expand_home
from xception.recipes.load import Recipe
from xception.training.checkpoints import LAST, PREVIOUS
from xception.training.run_directory import RunDirectory


def images_to_go_on_with(
    recipe: Recipe, directory: RunDirectory, *, resume: bool
) -> dict[str, Any]:
    """Which images a run goes on with: arguments of `build_data`.

    A run that has saved nothing yet begins afresh, with the images that there are now. One of an
    earlier version has no list; its held-out images are drawn as it drew them.

    Args:
        recipe: The run's.
        directory: The run's.
        resume: Whether it is to go on.

    Raises:
        InputError: The list is damaged, or the images are where they were no more.
    """
    saved = any((directory.checkpoints / name).exists() for name in (LAST, PREVIOUS))
    if not (resume and saved):
        return {}
    place = place_of(recipe.keys["data"]["name"], recipe.keys["data"]["root"])
    if place is not None and not place.exists():
        raise InputError(
            f"there is no {place}, where the images of {directory.path} lay; say with --data.root "
            "where they lie now"
        )
    record = read_record(directory.images)
    return {"record": record, "by_position": record is None}


def keep_list_of_images(recipe: Recipe, data: ImageData, directory: RunDirectory) -> None:
    """Writes the list of a run that begins; of one that goes on, compares it with the files.

    Warnings go to standard error: images that are held out and known from training, those that lie
    in two classes, and images that came later.

    Args:
        recipe: What is trained.
        data: Its images.
        directory: The run's; it is claimed.

    Raises:
        InputError: The run goes on, and an image is not the one that it was.
    """
    place = place_of(str(data.name), data.root)
    if place is None or data.by_position:
        return
    if data.record is not None:
        require_unchanged(data.record, folder_of(place))
        _tell_later_images(data.record, place)
        if not directory.images.exists():  # those of another run
            write_record(data.record, directory.images)
        return
    tuning = data.tuning_fraction is not None
    data.record = record_images(place, data.train_source, data.evaluation_source, tuning=tuning)
    if data.record is None:
        return
    write_record(data.record, directory.images)
    if data.record.of("train"):
        _tell_loose_images(place)
    _tell_twins(data.record.twins(), "with the same bytes as a training image")
    _tell_contradictions(data.record.contradictions())
    weights = recipe.keys["model"]["weights"]
    before = run_list_of(weights) if weights else None
    if before is not None:
        twins = before.twins_of(data.record)
        _tell_twins(twins, f"that the run which made {weights} was trained on")


def run_list_of(weights: str | Path) -> ImageRecord | None:
    """The list of the run that a weights file, a checkpoint or a run directory belongs to."""
    path = expand_home(weights)
    folders = [path] if path.is_dir() else [path.parent, path.parent.parent]
    for folder in folders:
        directory = RunDirectory(folder)
        if directory.is_run():
            return read_record(directory.images)
    return None


def _tell_twins(twins: list[tuple[str, str]], what: str) -> None:
    if twins:
        held_out, trained = twins[0]
        pair = held_out if held_out == trained else f"{held_out} is {trained}"
        print(
            f"xception: {count_of(len(twins), 'held-out image')} {what} ({pair}"
            f"{', …' if len(twins) > 1 else ''}): the accuracy will be too good",
            file=sys.stderr,
        )


def _tell_contradictions(pairs: list[tuple[str, str]]) -> None:
    if pairs:
        one, other = pairs[0]
        several = len(pairs) > 1
        print(
            f"xception: {count_of(len(pairs), 'image')} {'lie' if several else 'lies'} in another "
            f"class, too, with the same bytes ({one} is {other}{', …' if several else ''}): one of "
            "the two labels is wrong",
            file=sys.stderr,
        )


def _tell_loose_images(place: Path) -> None:
    if loose := loose_images(place):
        print(
            f"xception: {count_of(len(loose), 'image')} not in a class folder (such as {loose[0]}) "
            f"{'is' if len(loose) == 1 else 'are'} left out",
            file=sys.stderr,
        )


def _tell_later_images(record: ImageRecord, place: Path) -> None:
    if not record.of("train"):
        return
    known = {image.path for image in record.images}
    later = sum(path not in known for path, _ in list_images(place))
    if later:
        print(
            f"xception: {count_of(later, 'image')} came into {place} after the run began; it goes "
            "on without",
            file=sys.stderr,
        )
