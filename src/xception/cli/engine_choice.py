"""``--engine``, ``--threads`` and ``--calibration``: which library computes, on which images."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xception.errors import InputError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from xception.data.preprocessing import Preprocessing
    from xception.export.calibration import Calibration
    from xception.weights.files import LoadedModel


def add_engine_options(parser: "ArgumentParser", absent: str) -> None:
    """Adds the three options.

    Args:
        parser: A verb's.
        absent: What help says of a call without ``--engine``.
    """
    add = parser.add_argument
    add(
        "--engine",
        type=str | None,
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
    loaded: "LoadedModel",
    options: "Namespace",
    *,
    images: int,
    default: str | None = None,
    own_images: list[str] | None = None,
) -> "LoadedModel":
    """Puts the chosen engine in the place of the model. An exported file stays what it is.

    Args:
        loaded: The model.
        options: With ``engine``, ``threads``, ``calibration``, ``device`` and ``batch_size``.
        images: How many there are to classify.
        default: The engine without ``--engine``.
        own_images: The files to calibrate with if nothing else is given and nothing is stored.

    Raises:
        InputError: Options that don't go together, or what ``load_engine`` raises.
    """
    import torch

    from xception.export.engine import Engine, require_engine
    from xception.export.load import load_engine
    from xception.inference.devices import choose_device

    if isinstance(loaded.model, Engine):
        _refuse_engine_options(loaded, loaded.model.size, options)
        options.device = "cpu"
        return loaded
    if options.engine is not None:
        require_engine(options.engine)
    name = options.engine or default
    int8 = name == "openvino-int8"
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
        calibration = calibration_images(options.calibration, loaded.preprocessing)
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


def _refuse_engine_options(loaded: "LoadedModel", size: int, options: "Namespace") -> None:
    """Raises where an option is for models that are no exported files, or not for this one."""
    for name in ("engine", "calibration"):
        if getattr(options, name) is not None:
            raise InputError(
                f"--{name} is for models of this package; {loaded.path} has its own runtime: "
                "leave it away"
            )
    if options.device not in ("auto", "cpu"):
        raise InputError(
            f"{loaded.path} is run on the CPU here; leave --device {options.device} away"
        )
    if loaded.preprocessing.size != size:
        raise InputError(
            f"{loaded.path} takes images of {size} pixels; leave --image-size away, or export the "
            f"model with --image-size {loaded.preprocessing.size}"
        )


def calibration_images(given: str, preprocessing: "Preprocessing") -> "Calibration":
    """Images of a folder (of its ``train/`` if it has one), or a recipe's training images.

    Raises:
        InputError: There is no such thing, or it holds too few images.
    """
    from xception.export.calibration import (
        MOST_IMAGES,
        make_calibration,
        read_calibration,
    )

    path = Path(given)
    if path.is_dir() and not (path / "recipe.yaml").is_file():
        inside = path / "train" if (path / "train").is_dir() else path
        return read_calibration([inside], preprocessing, str(inside))
    from xception.cli.labelled_data import open_labelled_data

    source = open_labelled_data(given, "train").source
    places = range(0, len(source), max(1, len(source) // MOST_IMAGES))
    crops = []
    for place in list(places)[:MOST_IMAGES]:
        try:
            crops.append(preprocessing(source[place][0]))
        except InputError:
            continue
    return make_calibration(crops, given)
