"""One file for other programs: converted, checked against the model, and only then kept."""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xception import __version__
from xception.data.preprocessing import Preprocessing
from xception.errors import InputError
from xception.export.cache import weights_digest
from xception.export.calibration import Calibration, read_calibration
from xception.export.conversion import converting, example_images
from xception.export.exported_check import compare_with_model, reference_of
from xception.export.exported_description import ExportedDescription, Precision
from xception.export.exported_network import OUTPUTS, Head, build_network
from xception.export.formats import Format, format_of
from xception.export.opening import as_engine_takes_it
from xception.export.requirements import require_exportable, require_target
from xception.weights.atomic import replacing_together
from xception.weights.files import LoadedModel, describe, open_model
from xception.weights.reading import Averaging

WEIGHT_BITS = 7
"""Of 8-bit files: with these no sum of products overflows on any processor, see ``processor``.

Where a file will run is not known when it is written."""

GivenCalibration = Calibration | str | Path | Callable[[Preprocessing], Calibration] | None


@dataclass(frozen=True)
class ExportedFile:
    """What was written.

    Attributes:
        path: The file that is opened.
        files: All of them: OpenVINO's are two.
        format: Its kind.
        description: What the file says of itself.
    """

    path: Path
    files: list[Path]
    format: Format
    description: ExportedDescription


def export_model(
    source: str | Path | nn.Module | LoadedModel,
    path: str | Path,
    *,
    format: str | None = None,
    precision: Precision = "float32",
    pixels: bool = False,
    head: Head = "logits",
    image_size: int | None = None,
    calibration: GivenCalibration = None,
    weights: Averaging = "polyak",
    class_names: list[str] | None = None,
    preprocessing: Preprocessing | None = None,
    overwrite: bool = False,
) -> ExportedFile:
    """Writes a model for ONNX Runtime, OpenVINO or plain PyTorch.

    BatchNorm is folded. The written file is run on images in batches of several sizes and compared
    with the model, before it gets its name: what computes something else is never kept, and a kill
    leaves the old file or none.

    Args:
        source: What ``open_model`` takes, or returned; or a network of ``create_model``.
        path: The file. Its ending chooses the format: ``.onnx``, ``.pt2`` (a program of
            ``torch.export``), or ``.xml`` (OpenVINO, with a ``.bin`` beside it).
        format: "onnx", "pt2" or "openvino", to be sure of it.
        precision: "float32"; "float16" (halves the file) or "int8" (quarters it, and needs
            calibration images), not for ``.pt2``.
        pixels: Whether the file takes (N, S, S, 3) uint8 and scales them itself; else it takes
            (N, C, S, S) float32, scaled by mean and std of the preprocessing.
        head: "logits"; "softmax": the output is probabilities; "none": it is what the logistic
            regression reads. A model without classifier gives that anyway.
        image_size: Height and width of the input, pixels; by default the model's own.
        calibration: For "int8": images like those that will be classified: a folder, a
            ``Calibration``, or a function that makes one for a preprocessing.
        weights: Averaged or raw ones, where the source has both.
        class_names: In the place of the source's: one for each logit.
        preprocessing: In the place of the source's.
        overwrite: Whether a file that is there may be replaced.

    Returns:
        What was written.

    Raises:
        InputError: A value that does not fit, a library that is not installed (the message names
            the extra), or a file that exists.
        RunFailedError: The model can't be converted, or the result computes something else.

    Example:
        >>> import tempfile
        >>> from xception import create_model
        >>> model = create_model("xception", num_classes=2, width=0.0625, middle_flow_repeats=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = export_model(model, f"{folder}/model.pt2", image_size=71)
        >>> written.description.agreement["difference"] < 1e-5
        True
    """
    target = Path(path)
    known = format_of(target, format)
    require_target(target, known, overwrite)
    if precision not in known.precisions:
        raise InputError(
            f"a {target.suffix} file can't have the precision '{precision}': it has "
            f"{' or '.join(known.precisions)}"
        )
    known.require_libraries(precision)
    loaded = _loaded(source, weights, class_names, preprocessing, image_size)
    require_exportable(loaded, pixels=pixels, head=head)
    num_classes = int(loaded.model.num_classes)  # type: ignore[arg-type]
    head = head if num_classes else "none"
    images = _images(precision, calibration, loaded.preprocessing)

    files = [target.with_suffix(suffix) for suffix in known.suffixes]
    with replacing_together(files) as partial:
        network = build_network(
            loaded.model,
            loaded.preprocessing,
            head=head,
            pixels=pixels,
            half=_half(known, precision),
        )
        described = ExportedDescription(
            model=replace(loaded.description, class_names=loaded.class_names, preprocessing=None),
            preprocessing=loaded.preprocessing,
            pixels=pixels,
            output=OUTPUTS[head],
            outputs=num_classes if head != "none" else _features(network, loaded),
            precision=precision,
            producer=f"xception {__version__}",
            source=_source(loaded),
        )
        if images:
            described = replace(described, quantisation=_quantisation(images))
        with converting(known.title, "take another format"):
            converted = known.convert(network, _example(described), OUTPUTS[head])
            if images:
                scale = _scale(described)
                assert known.quantise is not None
                converted = known.quantise(converted, images, scale, WEIGHT_BITS)
        described = _write_and_check(converted, partial[0], known, described, loaded, images, head)
    return ExportedFile(target, files, known, described)


def _write_and_check(
    converted: Any,
    path: Path,
    known: Format,
    described: ExportedDescription,
    loaded: LoadedModel,
    calibration: Calibration | None,
    head: Head,
) -> ExportedDescription:
    """Writes a file and compares it with the model; then with the comparison in it, once more."""
    reference = reference_of(loaded.model, head)
    told = described
    for _ in range(2):
        with converting(known.title, "take another format"):
            known.write(converted, path, told)
            run = as_engine_takes_it(known.run(path, torch.get_num_threads()), described)
        told = replace(
            described,
            agreement=compare_with_model(reference, run, described, calibration, path.name),
        )
    return told


def _loaded(
    source: str | Path | nn.Module | LoadedModel,
    weights: Averaging,
    class_names: list[str] | None,
    preprocessing: Preprocessing | None,
    image_size: int | None,
) -> LoadedModel:
    if isinstance(source, nn.Module):
        described = describe(source, class_names)
        model = copy.deepcopy(source).cpu().float()
        loaded = LoadedModel(model, None, Preprocessing(), described, Path())
    else:
        loaded = source if isinstance(source, LoadedModel) else open_model(source, weights=weights)
    preprocessing = preprocessing or loaded.preprocessing
    if image_size is not None:
        preprocessing = replace(preprocessing, size=image_size)
    if class_names is not None:
        describe(loaded.model, class_names)
    return replace(
        loaded,
        model=loaded.model.eval(),
        class_names=class_names or loaded.class_names,
        preprocessing=preprocessing,
    )


def _images(
    precision: Precision, given: GivenCalibration, preprocessing: Preprocessing
) -> Calibration | None:
    if precision != "int8":
        if given is not None:
            raise InputError("--calibration is for --precision int8; give both or neither")
        return None
    if given is None:
        raise InputError(
            "--precision int8 learns the ranges of activations from images like those that will be "
            "classified: give --calibration, a folder or a recipe"
        )
    if isinstance(given, (str, Path)):
        return read_calibration([given], preprocessing, str(given))
    images = given if isinstance(given, Calibration) else given(preprocessing)
    if images.crops.shape[-1] != preprocessing.size:
        raise InputError(
            f"the calibration images have {images.crops.shape[-1]} pixels and the exported "
            f"network takes {preprocessing.size}; make them with its preprocessing"
        )
    return images


def _half(known: Format, precision: Precision) -> bool:
    """Whether the network itself is made float16; OpenVINO halves weights when it writes them."""
    return precision == "float16" and known.name != "openvino"


def _example(described: ExportedDescription) -> Tensor:
    images = example_images(described.preprocessing.size, described.in_channels)
    return images.permute(0, 2, 3, 1).to(torch.uint8).contiguous() if described.pixels else images


def _scale(described: ExportedDescription) -> Callable[[Tensor], Tensor]:
    """From crops to what the file takes."""
    if described.pixels:
        return lambda crops: crops.permute(0, 2, 3, 1).contiguous()
    return described.preprocessing.normalize


def _features(network: nn.Module, loaded: LoadedModel) -> int:
    """How many numbers a network without its classifier gives."""
    size = loaded.preprocessing.size
    channels = int(getattr(loaded.model, "in_channels", 3))
    inner = network.network
    assert isinstance(inner, nn.Module)
    kind = next(inner.parameters()).dtype
    with torch.no_grad():
        return int(inner(torch.zeros(1, channels, size, size, dtype=kind)).shape[1])


def _source(loaded: LoadedModel) -> dict[str, Any]:
    told: dict[str, Any] = {"weights_digest": weights_digest(loaded.model)}
    if loaded.path.is_file():
        with loaded.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        told = {"file": loaded.path.name, "sha256": digest} | told
    return told


def _quantisation(images: Calibration) -> dict[str, Any]:
    return {
        "weight_bits": WEIGHT_BITS,
        "calibration_images": len(images.crops),
        "calibration_origin": Path(images.origin).name,
    }
