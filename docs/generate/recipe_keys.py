"""All keys of a recipe, from the help of ``xception train RECIPE --help``."""

import os
import re
from unittest import mock

from command_help import Section, read_help, table

CHOSEN = {
    "model": "The model, by `model.name`",
    "data": "Data and augmentation",
    "optimizer": "The optimizer, by `optimizer.name`",
    "schedule": "The learning rate, by `schedule.name`",
    "loss": "The loss, by `loss.name`",
    "map": "MAP@k, for several labels to an image",
    "polyak": "Polyak averaging",
    "training": "Training",
    "trainer": "Lightning's Trainer",
}


def tables() -> str:
    """Every key by group; of groups with a name, those of each name."""
    from xception.recipes.schema import DEFAULT_NAMES, builders

    shared = _keys([])
    parts = [
        "## The seed\n\n"
        + table(Section("", [("--seed", shared["seed"])]), prefix="--", head="key")
    ]
    for group, title in CHOSEN.items():
        parts.append(f"## {title}")
        if group not in DEFAULT_NAMES:
            parts.append(_table(_of(shared, group)))
            continue
        by_name = {name: _of(_keys([f"--{group}.name", name]), group) for name in builders(group)}
        common = {
            key: said
            for key, said in next(iter(by_name.values())).items()
            if all(keys.get(key) == said for keys in by_name.values())
        }
        parts.append(_table(common))
        for name, keys in by_name.items():
            own = {key: said for key, said in keys.items() if key not in common}
            parts.append(f"### `{group}.name: {name}`")
            parts.append(_table(own) if own else "No further keys.")
    return "\n\n".join(parts)


def _keys(words: list[str]) -> dict[str, str]:
    from xception.recipes.load import recipe_help

    with mock.patch.dict(os.environ, COLUMNS="10000"):
        text = recipe_help("digits-xception", words)
    return {
        name.removeprefix("--").split(" ")[0]: said
        for section in read_help(f"usage: x\n\n{text}").sections
        for name, said in section.entries
        if not name.endswith(" CONFIG") and not re.match(r"--\w+\.name ", name)
    }


def _of(keys: dict[str, str], group: str) -> dict[str, str]:
    return {key: said for key, said in keys.items() if re.match(rf"{group}\.", key)}


def _table(keys: dict[str, str]) -> str:
    return table(
        Section("", [(f"--{key}", said) for key, said in keys.items()]), prefix="--", head="key"
    )
