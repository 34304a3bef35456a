"""Opening an exported file, so that it can be asked like the model that it was made from."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from xception.data.preprocessing import Preprocessing
from xception.errors import InputError
from xception.export.engine import Engine, EngineFacts, Run
from xception.export.exported_description import ExportedDescription
from xception.export.formats import FORMATS, Format, format_of, is_named_as
from xception.weights.files import LoadedModel, open_model
from xception.weights.reading import Averaging

LEAST_PROBABILITY = 1e-37
"""Smaller ones count as this: the logarithm of a probability of 0 is no finite number."""


def is_exported(source: str | Path) -> bool:
    """Whether a model's name is that of an exported file, which need not be there."""
    return any(is_named_as(Path(source), known) for known in FORMATS.values())


def open_network(
    source: str | Path, *, weights: Averaging = "polyak", threads: int | None = None
) -> LoadedModel:
    """Opens an exported file, or whatever else holds a model.

    Args:
        source: An exported file, or what `open_model` takes.
        weights: See `open_model`; an exported file has one set.
        threads: For an exported file: how many.

    Raises:
        InputError: As `open_exported` and `open_model`.
    """
    if not is_exported(source):
        return open_model(source, weights=weights)
    if weights == "raw":
        raise InputError(
            f"{source} holds one set of weights, and not the raw ones beside it: export those "
            "with --weights raw"
        )
    return open_exported(source, threads)


def read_exported(path: str | Path) -> ExportedDescription:
    """Reads what an exported file says of itself.

    Raises:
        InputError: There is no such file, it is damaged, not one of `export_model`, or a library
            is missing that reads it.
    """
    path = Path(path)
    known = format_of(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    for suffix in known.suffixes[1:]:
        if not path.with_suffix(suffix).is_file():
            raise InputError(f"{path.with_suffix(suffix)}, which belongs to {path}, is not there")
    try:
        told = known.read(path)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # the formats' libraries raise whatever they like
        raise InputError(f"{path} is no {known.title} file, or damaged{_reason(error)}") from error
    return ExportedDescription.from_metadata(told, str(path))


def open_exported(path: str | Path, threads: int | None = None) -> LoadedModel:
    """Opens an exported file with its own runtime on the CPU.

    Args:
        path: Written by `export_model`: ``.onnx``, ``.pt2``, or the ``.xml`` of OpenVINO.
        threads: How many; by default as many as torch takes.

    Returns:
        A model whose module is an ``Engine``: it takes images as ``Preprocessing.normalize`` scales
        them, and gives logits, whatever the file itself takes and gives (of a file with
        probabilities, their logarithms).

    Raises:
        InputError: As `read_exported`; no thread at all; or the file does something else than its
            metadata say.
    """
    if threads is not None and threads < 1:
        raise InputError(f"--threads is {threads}; give 1 or more")
    path = Path(path)
    described = read_exported(path)
    known = format_of(path)
    known.require_libraries()
    count = threads or torch.get_num_threads()
    run = as_engine_takes_it(_start(known, path, count), described)
    _require_as_described(run, described, path)
    facts = EngineFacts(known.name, count, record={"path": str(path)})
    engine = Engine(
        run,
        described.preprocessing.size,
        facts,
        num_classes=0 if described.output == "features" else described.outputs,
        in_channels=described.in_channels,
    )
    told = replace(described.model, preprocessing=described.preprocessing.to_dict())
    return LoadedModel(engine, told.class_names, described.preprocessing, told, path)


def _start(known: Format, path: Path, threads: int) -> Run:
    try:
        return known.run(path, threads)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"{path} can't be loaded{_reason(error)}: export it again") from error


def _require_as_described(run: Run, described: ExportedDescription, path: Path) -> None:
    """Raises where a file takes or gives something else than its metadata say."""
    size = described.preprocessing.size
    black = torch.full((1, described.in_channels, size, size), -1.0)
    expected = (1, described.outputs)
    try:
        with torch.inference_mode():
            shape = tuple(run(black).shape)
    except Exception as error:  # the runtimes raise whatever they like
        raise InputError(
            f"{path} can't be run as its metadata say{_reason(error)}: export it again"
        ) from error
    names = described.model.class_names
    if shape != expected or (names and described.output != "features" and len(names) != shape[1]):
        raise InputError(
            f"{path} does not fit its metadata: it gives {shape} for one image, and they tell of "
            f"{expected} and {len(names or [])} class names: export it again"
        )


def as_engine_takes_it(run: Run, described: ExportedDescription) -> Run:
    """From scaled images to logits, whatever the file takes and gives."""
    preprocessing = described.preprocessing

    def adapted(images: Tensor) -> Tensor:
        found = run(pixels_of(images, preprocessing) if described.pixels else images)
        if described.output == "probabilities":
            return found.clamp(min=LEAST_PROBABILITY).log()
        return found

    return adapted


def pixels_of(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The pixels that were scaled: the inverse of ``Preprocessing.normalize``, exactly.

    Args:
        images: (N, 3, S, S) float32.
        preprocessing: What scaled them.

    Returns:
        (N, S, S, 3) uint8.

    Example:
        >>> prepare = Preprocessing(size=2, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        >>> crops = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2) * 23
        >>> pixels_of(prepare.normalize(crops), prepare).permute(0, 3, 1, 2).equal(crops)
        True
    """
    mean, std = (
        torch.tensor(values).view(3, 1, 1) * 255
        for values in (preprocessing.mean, preprocessing.std)
    )
    rounded = (images.float() * std + mean).round().clamp(0, 255).to(torch.uint8)
    return rounded.permute(0, 2, 3, 1).contiguous()


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f" ({text[:160].rstrip('.')})" if text else ""
