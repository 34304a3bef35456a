"""``--image-size``, ``--evaluation-mode`` and their like: how an image becomes a model's input."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from xception.data.evaluation_mode import EvaluationMode

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from xception.weights.files import LoadedModel

_FIELDS = {  # option → field of Preprocessing
    "image_size": "size",
    "evaluation_mode": "mode",
    "crop_fraction": "crop_fraction",
    "interpolation": "interpolation",
    "antialias": "antialias",
}


def add_preprocessing_options(parser: "ArgumentParser", whose: str) -> None:
    """Adds the five options.

    Args:
        parser: A verb's.
        whose: Whose value is taken where one is not given, for help.
    """
    add = parser.add_argument
    absent = f"; {whose} own if not given."
    add("--image-size", type=int | None, help=f"Height and width of the input, pixels{absent}")
    add(
        "--evaluation-mode",
        type=EvaluationMode | None,
        help="central-crop: the central share of height and width, squashed to a square; "
        "resize-crop: the short side resized, the central square of that; squash: the whole image, "
        f"squashed to a square; pad: the whole image with black beside it{absent}",
    )
    add(
        "--crop-fraction",
        type=float | None,
        help=f"Share that the two crops keep, in (0, 1]{absent}",
    )
    add(
        "--interpolation",
        type=Literal["bilinear", "bicubic"] | None,
        help=f"Filter of the resizing{absent}",
    )
    add(
        "--antialias",
        type=bool | None,
        help=f"Whether shrinking averages over the pixels that it removes, true or false{absent}",
    )


def given_preprocessing(options: "Namespace") -> dict[str, Any]:
    """The fields of `Preprocessing` that the user gave."""
    given = {field: options[option] for option, field in _FIELDS.items()}
    return {field: value for field, value in given.items() if value is not None}


def with_preprocessing(loaded: "LoadedModel", options: "Namespace") -> "LoadedModel":
    """The same model with the preprocessing that the user gave in the place of its file's.

    Raises:
        InputError: A value out of its range.
    """
    given = given_preprocessing(options)
    if not given:
        return loaded
    return replace(loaded, preprocessing=replace(loaded.preprocessing, **given))
