"""From a recipe's name or file and ``--dotted.key value`` overrides to its full set of keys."""

import argparse
import re
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from xception.errors import InputError, nearest


@dataclass
class Recipe:
    """A complete recipe.

    Attributes:
        name: The shipped recipe's name, or the file's without its ending.
        keys: Every key with its value, nested by group, as primitives.
        file: Where it was read; None for one that was made otherwise.
    """

    name: str
    keys: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None

    def group(self, name: str) -> dict[str, Any]:
        """The keys of one group, a copy."""
        return dict(self.keys[name])

    def defaults(self) -> dict[str, Any]:
        """What every key is where nothing sets it, nested by group, as primitives."""
        from xception.recipes.schema import recipe_parser

        parser = recipe_parser(_chosen_names(self.keys, {}))
        return dict(yaml.safe_load(parser.dump(parser.get_defaults(), skip_none=False)))


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    directory = Path(str(resources.files("xception.recipes")))
    return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def find_recipe(name_or_path: str) -> Path:
    """The file of a recipe.

    Raises:
        InputError: There is neither a shipped recipe nor a file of that name.
    """
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if path.is_dir() and (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    if path.is_file():
        return path
    hint = nearest(name_or_path, list(shipped))
    raise InputError(
        f"there is no recipe '{name_or_path}'{hint}; `xception recipes` lists the shipped ones, "
        "and a YAML file works too"
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys that a recipe file sets.

    Raises:
        InputError: It is not YAML, or no mapping of keys.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise InputError(f"{path}{line} is not YAML; see `xception recipes NAME`") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no recipe: it must be a mapping of keys")
    return content


def split_overrides(words: list[str]) -> dict[str, str]:
    """``--a.b 1 --c=2`` as a dictionary of texts.

    Raises:
        InputError: A word that is no key, or a key without a value.
    """
    overrides: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise InputError(
                f"'{word}' is no key; overrides look like --optimizer.learning_rate 0.1"
            )
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise InputError(f"--{key} lacks a value; for a switch write --{key} true")
            value = rest.pop(0)
        overrides[key] = value
    return overrides


def _chosen_names(keys: dict[str, Any], overrides: dict[str, str]) -> dict[str, str]:
    from xception.recipes.schema import DEFAULT_NAMES, builders

    names = {}
    for group, default in DEFAULT_NAMES.items():
        section = keys.get(group) or {}
        if not isinstance(section, dict):
            raise InputError(f"'{group}' must be a mapping of keys, not {section!r}")
        name = str(overrides.get(f"{group}.name", section.get("name", default)))
        known = list(builders(group))
        if name not in known:
            raise InputError(
                f"{group}.name: there is no '{name}'{nearest(name, known)}; there are: "
                f"{', '.join(known)}"
            )
        names[group] = name
    return names


def load_recipe(name_or_path: str, overrides: list[str] | None = None) -> Recipe:
    """Reads a recipe, applies overrides, fills in every default.

    Args:
        name_or_path: A shipped recipe's name, a YAML file, or a run directory.
        overrides: Words such as ``["--optimizer.learning_rate", "0.1"]``.

    Raises:
        InputError: An unknown recipe or key (the nearest valid one is named), or a value of the
            wrong type.
    """
    from xception.recipes.schema import recipe_parser
    from xception.training.run_directory import flatten

    path = find_recipe(name_or_path)
    keys = read_yaml(path)
    given = split_overrides(overrides or [])
    names = _chosen_names(keys, given)
    parser = recipe_parser(names)
    known = set(parser.get_defaults().keys(branches=True))
    leaves = [*sorted(parser.get_defaults().keys()), "output", "resume", "overwrite"]
    opaque = ("trainer.",)  # below trainer.callbacks and its like lie other libraries' keys
    for key in [*flatten(keys), *given]:
        if key not in known and not _reaches_into(key, known, opaque):
            raise InputError(
                f"there is no recipe key '{key}'{nearest(key, leaves)} (model.name is "
                f"{names['model']}, optimizer.name {names['optimizer']}, schedule.name "
                f"{names['schedule']})"
            )
    try:
        config = parser.parse_object(keys, defaults=True)
        if given:
            words = [f"--{key}={value}" for key, value in given.items()]
            config = parser.parse_args(words, namespace=config)
    except (argparse.ArgumentError, ValueError, TypeError) as error:
        raise InputError(_one_sentence(str(error))) from None
    filled = yaml.safe_load(parser.dump(config, skip_none=False))
    name = path.resolve().parent.name if path.name == "recipe.yaml" else path.stem
    return Recipe(name, filled, path)


def _reaches_into(key: str, known: set[str], opaque: tuple[str, ...]) -> bool:
    parents = [key[:i] for i, letter in enumerate(key) if letter == "."]
    return any(parent in known and parent.startswith(opaque) for parent in parents)


def _one_sentence(message: str) -> str:
    """The parser's message, its many lines as one."""
    text = re.sub(r"<class '(\w+)'>|typing\.", r"\1", message)
    parts = [part.strip(" -") for part in text.splitlines() if part.strip()]
    head = re.sub(r'Parser key "([^"]*)":?', r"recipe key '\1':", parts[0])
    noise = ("Subtypes", "Errors", "Given", "Does not validate")
    details = [part for part in parts[1:] if not part.startswith(noise)]
    return " ".join([head, "; or ".join(details[:4])]).replace("Expected a", "expected a")


def recipe_help(name_or_path: str, overrides: list[str]) -> str:
    """The keys of a recipe with their types, defaults and meaning.

    Args:
        name_or_path: A shipped recipe's name, a YAML file, or a run directory.
        overrides: Words that may choose another model, optimizer, schedule or loss.
    """
    from xception.recipes.schema import recipe_parser

    names = _chosen_names(read_yaml(find_recipe(name_or_path)), split_overrides(overrides))
    text = recipe_parser(names).format_help()
    return text[text.index("options:") :].replace("options:", "keys:", 1)
