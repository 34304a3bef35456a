"""What ``evaluate``'s DATA means: a data set's name, a folder, or the data of a recipe or a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from xception.data.catalog import data_names, open_source
from xception.data.image_record import ImageRecord, read_record
from xception.data.multi_label import is_multi_label_place
from xception.data.recorded_images import find_recorded, require_unchanged
from xception.data.run_images import PART, folder_of, is_drawn, place_of
from xception.data.shards import is_shards_place
from xception.data.sources import AnySource
from xception.errors import InputError, count_of, nearest

Split = Literal["evaluation", "train", "new"]
PATHS_SHOWN = 3


@dataclass(frozen=True)
class LabelledData:
    """What is evaluated on.

    Attributes:
        source: The images.
        notes: What the user should know of them, a sentence each.
        facts: The same as figures, for ``--json``.
        map_k: The k by which the recipe or run that they are of scores images of several labels.
    """

    source: AnySource
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    map_k: int | None = None


def open_labelled_data(data: str, split: Split, root: str | None = None) -> LabelledData:
    """Opens the images and labels to evaluate on.

    Args:
        data: A name of ``data_names()``; a label table, a folder of them or of shards; a folder
            (all its images, or its ``val/`` beside ``train/``); a shipped recipe, a recipe's YAML
            file or a run directory (the images that it held out, by its list of them).
        split: Which part of them; "new": those that came after a run began.
        root: Where a named data set lies; in the place of the recipe's ``data.root``.

    Raises:
        InputError: There is no such thing, or it does not hold what it should.
    """
    from xception.recipes.load import load_recipe, shipped_recipes

    path = Path(data)
    place = is_multi_label_place(path) or is_shards_place(path)
    is_recipe = (path / "recipe.yaml").is_file() or path.is_file() or data in shipped_recipes()
    if data not in data_names() and not place and is_recipe:
        keys = load_recipe(data).keys
        return replace(_open_recipe_data(data, keys, split, root), map_k=keys["map"]["k"])
    if split == "new":
        raise InputError(
            "--split new means the images that came after a run began: give the run's directory as "
            "DATA"
        )
    if data == "imagenet" and root is None:
        raise InputError("give --data-root, the folder that holds ImageNet's train/ and val/")
    if data in data_names():
        return LabelledData(open_source(data, split, root=root))
    if place:
        return LabelledData(open_source(data, split))
    if not path.exists():
        known = [*data_names(), *shipped_recipes()]
        raise InputError(
            f"there is no data set, folder or recipe '{data}'{nearest(data, known)}; "
            f"the data sets are {', '.join(data_names())}"
        )
    return LabelledData(open_source(data, split, root=root))


def _open_recipe_data(
    recipe: str, keys: Mapping[str, Any], split: Split, root: str | None
) -> LabelledData:
    from xception.recipes.load import shipped_recipes
    from xception.training.run_directory import RunDirectory

    data = keys["data"]
    place = place_of(data["name"], root or data["root"])
    if place is not None and not place.exists():
        raise InputError(
            f"there is no {place}, where the images of {recipe} lay; tell their place with "
            "--data-root"
        )
    is_run = recipe not in shipped_recipes() and Path(recipe).is_dir()
    record = read_record(RunDirectory(Path(recipe)).images) if is_run else None
    if record is not None and place is not None:
        if record.of("train"):
            return _recorded(record, place, split, recipe)
        require_unchanged(record, folder_of(place))
    if split == "new":
        raise InputError(f"{recipe} has no list of its images, so that no others can be told apart")
    source = open_source(
        data["name"],
        split,
        root=root or data["root"],
        validation_fraction=data["validation_fraction"],
        tuning_fraction=data["tuning_fraction"],
        seed=keys["seed"],
        by_position=is_run,
    )
    notes = []
    if is_run and record is None and place is not None and is_drawn(place, data["tuning_fraction"]):
        notes = [
            f"{recipe} was made by an earlier version and has no list of its images: the held-out "
            "ones are drawn again, which is right only if none was added or removed since"
        ]
    return LabelledData(source, notes)


def _recorded(record: ImageRecord, place: Path, split: Split, run: str) -> LabelledData:
    """A run's images as they are now, and what has become of them."""
    part = PART["train" if split == "train" else "evaluation"]
    found = find_recorded(record, place, part)
    facts = {
        "recorded": found.recorded,
        "renamed": found.renamed,
        "missing": found.missing,
        "new": len(found.new),
    }
    what = "held out" if part == "held-out" else "trained on"
    if split == "new":
        if not len(found.new):
            raise InputError(f"{place} has no image that came after {run} began")
        return LabelledData(found.new)
    if not len(found.images):
        raise InputError(
            f"none of the {count_of(found.recorded, 'image')} that {run} {what} is left in {place} "
            f"({_some(found.missing)}); tell their place with --data-root, or evaluate on a folder"
        )
    changes = []
    if found.missing:
        changes.append(
            f"{len(found.missing):,} gone or changed ({_some(found.missing)}) and left out"
        )
    if found.renamed:
        changes.append(f"{found.renamed:,} found under another name")
    if len(found.new):
        changes.append(
            f"{count_of(len(found.new), 'image')} new since and left out (--split new takes them)"
        )
    note = f"of the {count_of(found.recorded, 'image')} that {run} {what}, "
    note += f"{len(found.images):,} {'is' if len(found.images) == 1 else 'are'} evaluated: "
    return LabelledData(
        found.images, [note + "; ".join(changes)] if changes else [], {"images_of_the_run": facts}
    )


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:PATHS_SHOWN]) + (", …" if len(paths) > PATHS_SHOWN else "")
