"""What ``inspect``'s MODEL means: a file of weights, a run, a recipe, or a bare architecture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xception.errors import InputError, nearest
from xception.models.registry import list_models


@dataclass(frozen=True)
class DescribedModel:
    """A model that need not exist yet.

    Attributes:
        architecture: A name that ``create_model`` knows.
        arguments: Its arguments.
        image_size: Height and width that it is made for, pixels; None: not told.
        note: Something the reader should know, or "".
    """

    architecture: str
    arguments: dict[str, Any]
    image_size: int | None = None
    note: str = ""


def describe_model(source: str) -> DescribedModel:
    """Finds out which model is meant, without reading its weights.

    Args:
        source: A run directory, checkpoint or weights file; a shipped recipe or a recipe's YAML
            file; an architecture.

    Raises:
        InputError: It is none of these.
    """
    if source in list_models():
        return DescribedModel(source, {})
    path = Path(source)
    from xception.recipes.load import shipped_recipes

    untrained = path.is_dir() and (path / "recipe.yaml").is_file() and not _has_weights(path)
    if source in shipped_recipes() or path.suffix in (".yaml", ".yml") or untrained:
        return _from_recipe(source)
    if not path.exists():
        known = [*list_models(), *shipped_recipes()]
        raise InputError(
            f"there is no file, recipe or architecture '{source}'{nearest(source, known)}; "
            f"the architectures are {', '.join(list_models())}"
        )
    from xception.weights.files import read_description

    described = read_description(source)
    told = described.preprocessing or {}
    return DescribedModel(described.architecture, described.arguments, told.get("size"))


def _has_weights(run: Path) -> bool:
    return (run / "model.safetensors").is_file() or (run / "checkpoints" / "last.ckpt").is_file()


def _from_recipe(source: str) -> DescribedModel:
    from xception.recipes.load import load_recipe
    from xception.recipes.schema import FROM_WEIGHTS, network_arguments

    recipe = load_recipe(source)
    keys = recipe.group("model")
    architecture = keys["name"]
    if architecture == FROM_WEIGHTS:
        raise InputError(
            f"the recipe {recipe.name} takes its model from a weights file: inspect that file"
        )
    arguments, num_classes = network_arguments(keys), keys["num_classes"]
    data = recipe.keys["data"]
    note = ""
    if num_classes is None:
        num_classes, note = _count_classes(data)
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    return DescribedModel(architecture, arguments, data["image_size"], note)


def _count_classes(data: dict[str, Any]) -> tuple[int | None, str]:
    """The number of classes of a recipe's data, where these are at hand: nothing is downloaded."""
    from xception.data.catalog import open_source

    if data["name"] == "digits" or (data["name"] == "folder" and data["root"]):
        return len(open_source(data["name"], "train", root=data["root"]).class_names), ""
    return None, "The data decide the number of classes; it is taken as the model's default."
