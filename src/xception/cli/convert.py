"""``xception convert SOURCE TARGET``: weights from Keras, timm and torchvision, and back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xception.cli.parsing import new_parser, parse
from xception.cli.preprocessing_options import add_preprocessing_options, given_preprocessing
from xception.cli.weights_option import add_weights_option
from xception.errors import count_of

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from xception.weights.description import StoredModel

SUMMARY = "bring weights from Keras, timm or torchvision here, and back"

DESCRIPTION = """\
Converts a weights file. SOURCE is a file of Keras 1, 2 or 3, of timm, Cadene, tstandley or
torchvision, one of this project, a run directory, an http(s) address, or one of the names
keras-imagenet, keras-imagenet-notop, timm-imagenet, keras-inception-v3-imagenet,
keras-inception-v3-imagenet-notop and torchvision-inception-v3-imagenet, which are downloaded once.
TARGET ends in .safetensors (this project) or .weights.h5 (Keras 3, for keras.applications)."""


def main(arguments: Sequence[str]) -> int:
    """Runs the verb; returns 0."""
    options = _parse(arguments)
    from xception.weights.conversion import convert

    class_names = _read_names(options.class_names) if options.class_names else None
    stored = convert(
        options.source,
        options.target,
        kind=options.kind,
        weights=options.weights,
        class_names=class_names,
        preprocessing=given_preprocessing(options),
        overwrite=options.overwrite,
    )
    _show(stored, options.target)
    return 0


def _read_names(path: str) -> list[str]:
    """One class name a line.

    Raises:
        InputError: The file is missing or no text.
    """
    from pathlib import Path

    from xception.data.class_lists import lines_of
    from xception.errors import InputError

    try:
        return [line for line in lines_of(Path(path)) if line]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} can't be read ({error}): give a text file with one class name a line"
        ) from error


def _show(stored: "StoredModel", target: str) -> None:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Column, Table

    described = stored.description
    parameters = sum(tensor.numel() for tensor in stored.tensors.values())
    names = described.class_names
    table = Table("", Column("", overflow="fold"), show_header=False, box=None)
    table.add_row("source", str(stored.path))
    table.add_row("recognised as", f"{stored.kind}: {stored.container}")
    table.add_row("architecture", described.architecture)
    classes = str(described.num_classes) if described.num_classes else "none (without the top)"
    table.add_row("classes", f"{classes}{f', {names[0]} … {names[-1]}' if names else ''}")
    table.add_row("values", f"{parameters:,} in {count_of(len(stored.tensors), 'tensor')}")
    table.add_row("numerics", described.numerics)
    table.add_row("preprocessing", preprocessing_in_words(described.preprocessing))
    if stored.ignored:
        table.add_row(
            "left out", f"{count_of(len(stored.ignored), 'tensor')} of the auxiliary tower"
        )
    table.add_row("target", target)
    if Path(target).suffix == ".h5":
        table.add_row("", "Keras' file holds no class names and no preprocessing")
    Console().print(table)


def preprocessing_in_words(told: dict | None) -> str:
    """One line for people.

    Example:
        >>> preprocessing_in_words({"size": 299, "mode": "resize-crop", "crop_fraction": 0.875})
        '299 pixels, resize-crop 0.875'
        >>> preprocessing_in_words(None)
        'not told, the default is taken'
    """
    if not told:
        return "not told, the default is taken"
    mode = told.get("mode", "central-crop")
    words = f"{told.get('size', 299)} pixels, {mode}"
    if mode in ("central-crop", "resize-crop"):
        words += f" {told.get('crop_fraction', 0.875)}"
    if "interpolation" in told:
        words += f", {told['interpolation']}"
    return words + ("" if told.get("antialias", True) else " without antialias")


def _parse(arguments: Sequence[str]) -> "Namespace":
    parser = new_parser("convert", DESCRIPTION)
    add = parser.add_argument
    add("source", type=str, help="Weights file, run directory, address or name.")
    add("target", type=str, help="New file: .safetensors or .weights.h5.")
    add(
        "--kind",
        type=str | None,
        default=None,
        help="What the source is to be taken for: keras-xception, keras-inception-v3, "
        "keras-inception-v3-paper, timm-xception, torchvision-inception-v3, torchvision, "
        "xception or checkpoint. Recognised if not given.",
    )
    add_weights_option(parser)
    add(
        "--class-names",
        type=str | None,
        default=None,
        help="Text file with one class name a line, in the order of the logits.",
    )
    add_preprocessing_options(parser, "the source's")
    add("--overwrite", action="store_true", help="Replace a target that exists.")
    return parse(parser, arguments)
