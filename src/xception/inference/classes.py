"""Whether a model and a data set mean the same classes, and in which order each has them."""

from collections.abc import Sequence

from torch import nn

from xception.data.preprocessing import Preprocessing
from xception.errors import InputError


def require_classifier(model: nn.Module, preprocessing: Preprocessing) -> int:
    """The number of a model's classes, if it is one that classifies pictures.

    Raises:
        InputError: It has no logits, or its images are not RGB or of a size that it can't take.
    """
    num_classes = getattr(model, "num_classes", 0)
    if not num_classes or getattr(model, "features_only", False):
        raise InputError("the model has no classifier: its output is feature maps; give another")
    channels = getattr(model, "in_channels", 3)
    if channels != 3:
        raise InputError(f"the model takes images of {channels} channels, not RGB; give another")
    smallest = getattr(model, "minimum_input_size", 1)
    if preprocessing.size < smallest:
        raise InputError(
            f"the model's file asks for images of {preprocessing.size} pixels, "
            f"and its network takes {smallest} or more; write the file anew"
        )
    return int(num_classes)


def match_classes(
    model_names: Sequence[str] | None, data_names: Sequence[str], num_classes: int
) -> list[int]:
    """Where each class of the data is among the model's outputs.

    Args:
        model_names: The model's class names in the order of its outputs; None when its file does
            not tell them: then only the number is compared, and the data's order is taken.
        data_names: The data's class names in the order of its labels.
        num_classes: The number of the model's outputs.

    Returns:
        For each label of the data the number of the model's output.

    Raises:
        InputError: They are not the same classes; the message names the first difference.

    Example:
        >>> match_classes(["dog", "cat"], ["cat", "dog"], 2)
        [1, 0]
    """
    if len(data_names) != num_classes:
        raise InputError(
            f"the model has {num_classes} classes and the data {len(data_names)}"
            f"{_first_difference(model_names, data_names)}; take data with the model's classes, "
            "or train the model on these"
        )
    if model_names is None or list(model_names) == list(data_names):
        return list(range(num_classes))
    if set(model_names) != set(data_names):
        raise InputError(
            "the model and the data have different classes"
            f"{_first_difference(model_names, data_names)}; take data with the model's classes, "
            "or train the model on these"
        )
    place = {name: index for index, name in enumerate(model_names)}
    if len(place) < num_classes:
        twice = next(name for name in place if list(model_names).count(name) > 1)
        raise InputError(
            f"several classes are called '{twice}', and the data has its classes in another order "
            "than the model, so they can't be told apart; give the classes different names"
        )
    return [place[name] for name in data_names]


def _first_difference(model_names: Sequence[str] | None, data_names: Sequence[str]) -> str:
    """Names the first class that only one side has, as the middle of a sentence."""
    if model_names is None:
        return ""
    known, given = set(model_names), set(data_names)
    for name in data_names:
        if name not in known:
            return f": the model does not know '{name}'"
    for name in model_names:
        if name not in given:
            return f": the data lacks '{name}'"
    return ""
