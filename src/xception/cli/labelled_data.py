"""What ``evaluate``'s DATA means: a data set's name, a folder, or the data of a recipe or a run."""

from pathlib import Path
from typing import Literal

from xception.data.catalog import data_names, open_source
from xception.data.multi_label import is_multi_label_place
from xception.data.shards import is_shards_place
from xception.data.sources import AnySource
from xception.errors import InputError, nearest


def open_labelled_data(
    data: str, split: Literal["train", "evaluation"], root: str | None = None
) -> AnySource:
    """Opens the images and labels to evaluate on.

    Args:
        data: A name of ``data_names()``; a label table, a folder of them or of shards; a folder
            (all its images, or its ``val/`` beside ``train/``); a shipped recipe, a recipe's YAML
            file or a run directory (the images that it holds out, with its seed).
        split: Which part of them.
        root: Where a named data set lies; in the place of the recipe's ``data.root``.

    Raises:
        InputError: There is no such thing, or it does not hold what it should.
    """
    if data == "imagenet" and root is None:
        raise InputError("give --data-root, the folder that holds ImageNet's train/ and val/")
    if data in data_names():
        return open_source(data, split, root=root)
    path = Path(data)
    if is_multi_label_place(path) or is_shards_place(path):
        return open_source(data, split)
    from xception.recipes.load import shipped_recipes

    if (path / "recipe.yaml").is_file() or path.is_file() or data in shipped_recipes():
        return _open_recipe_data(data, split, root)
    if not path.exists():
        known = [*data_names(), *shipped_recipes()]
        raise InputError(
            f"there is no data set, folder or recipe '{data}'{nearest(data, known)}; "
            f"the data sets are {', '.join(data_names())}"
        )
    return open_source(data, split, root=root)


def _open_recipe_data(
    recipe: str, split: Literal["train", "evaluation"], root: str | None
) -> AnySource:
    from xception.recipes.load import load_recipe

    keys = load_recipe(recipe).keys
    data = keys["data"]
    return open_source(
        data["name"],
        split,
        root=root or data["root"],
        validation_fraction=data["validation_fraction"],
        tuning_fraction=data["tuning_fraction"],
        seed=keys["seed"],
    )
