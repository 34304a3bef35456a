"""``--engine``, ``--threads`` and ``--calibration``: which library computes, on which images."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xception.errors import InputError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from xception.export.calibration import Calibration
    from xception.weights.files import LoadedModel


def add_engine_options(parser: "ArgumentParser", *, default: str | None, absent: str) -> None:
    """Adds the three options.

    Args:
        parser: A verb's.
        default: The engine without ``--engine``.
        absent: What help says of that.
    """
    add = parser.add_argument
    add(
        "--engine",
        type=str | None,
        default=default,
        help="What computes on the CPU: torch, compile, onnxruntime, openvino, openvino-bf16, "
        f"openvino-int8, or auto, which times the float32 ones once. {absent}",
    )
    add("--threads", type=int | None, help="Of the CPU; by default as many as torch takes.")
    add(
        "--calibration",
        type=str | None,
        help="openvino-int8: folder of images like those to be classified, data set or recipe.",
    )


def with_engine(
    loaded: "LoadedModel", options: "Namespace", *, images: int, own_images: list[str] | None = None
) -> "LoadedModel":
    """Puts the chosen engine in the place of the model.

    Args:
        loaded: The model.
        options: With ``engine``, ``threads``, ``calibration``, ``device`` and ``batch_size``.
        images: How many there are to classify.
        own_images: The files to calibrate with if nothing else is given and nothing is stored.

    Raises:
        InputError: Options that don't go together, or what ``load_engine`` raises.
    """
    import torch

    from xception.export.engine import require_engine
    from xception.export.load import load_engine
    from xception.inference.devices import choose_device

    if options.engine is not None:
        require_engine(options.engine)
    name, int8 = options.engine, options.engine == "openvino-int8"
    if options.threads is not None and options.threads < 1:
        raise InputError(f"--threads is {options.threads}; give 1 or more")
    if options.calibration and not int8:
        raise InputError("--calibration is for --engine openvino-int8; give both or neither")
    elsewhere = name in (None, "torch", "auto") and choose_device(options.device).type != "cpu"
    if elsewhere or name is None:
        if options.threads:
            torch.set_num_threads(options.threads)
        return loaded
    if options.device not in ("auto", "cpu"):
        raise InputError(
            f"--engine {name} computes on the CPU; leave --device {options.device} away, "
            "or take --engine torch"
        )
    options.device = "cpu"
    calibration: Any = None
    if int8 and options.calibration:
        calibration = _calibration(options.calibration, loaded)
    elif int8 and own_images is not None:
        from xception.export.calibration import read_calibration

        calibration = lambda: read_calibration(  # noqa: E731
            own_images, loaded.preprocessing, "the images to classify"
        )
    engine = load_engine(
        loaded,
        name,
        batch_size=max(1, min(options.batch_size, images)),
        threads=options.threads,
        calibration=calibration,
    )
    if engine.facts.note:
        print(f"xception: {engine.facts.note}", file=sys.stderr)
    return replace(loaded, model=engine)


def _calibration(given: str, loaded: "LoadedModel") -> "Calibration":
    """Images of a folder (of its ``train/`` if it has one), or a recipe's training images."""
    from xception.export.calibration import (
        MOST_IMAGES,
        make_calibration,
        read_calibration,
    )

    path = Path(given)
    if path.is_dir() and not (path / "recipe.yaml").is_file():
        inside = path / "train" if (path / "train").is_dir() else path
        return read_calibration([inside], loaded.preprocessing, str(inside))
    from xception.cli.labelled_data import open_labelled_data

    source = open_labelled_data(given, "train").source
    places = range(0, len(source), max(1, len(source) // MOST_IMAGES))
    crops = []
    for place in list(places)[:MOST_IMAGES]:
        try:
            crops.append(loaded.preprocessing(source[place][0]))
        except InputError:
            continue
    return make_calibration(crops, given)
