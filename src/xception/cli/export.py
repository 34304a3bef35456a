"""``xception export MODEL TARGET``: one file for ONNX Runtime, OpenVINO or plain PyTorch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from xception.cli.parsing import new_parser, parse
from xception.cli.preprocessing_options import add_preprocessing_options
from xception.cli.weights_option import add_weights_option
from xception.errors import count_of

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from xception.export.exporting import ExportedFile

SUMMARY = "a file for other programs: ONNX, OpenVINO, torch.export"

DESCRIPTION = """\
Writes a model for programs without this package. The ending of TARGET chooses: .onnx (ONNX Runtime
on servers, phones and in browsers), .xml (OpenVINO, with a .bin beside it), .pt2 (a torch.export
program, for torch alone). BatchNorm is folded, the batch may have any size; class names,
preprocessing and the hash of the weights are in the file. It is compared with the model before it
is kept; predict and evaluate take it, too."""


def main(arguments: Sequence[str]) -> int:
    """Runs the verb; returns 0."""
    options = _parse(arguments)
    from xception.cli.preprocessing_options import with_preprocessing
    from xception.export.exporting import export_model
    from xception.weights.files import open_model

    written = export_model(
        with_preprocessing(open_model(options.model, weights=options.weights), options),
        options.target,
        format=options.format,
        precision=options.precision,
        pixels=options.pixels,
        head=options.head,
        calibration=_calibration(options.calibration),
        overwrite=options.overwrite,
    )
    _show(written)
    return 0


def _calibration(given: str | None) -> Any:
    if given is None:
        return None
    from xception.cli.engine_choice import calibration_images

    return lambda preprocessing: calibration_images(given, preprocessing)


def _show(written: "ExportedFile") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from xception.cli.convert import preprocessing_in_words
    from xception.export.usage import usage

    described = written.description
    names, agreement = described.model.class_names, described.agreement
    table = Table("", "", show_header=False, box=None)
    rows = {
        "file": ", ".join(f"{file} ({file.stat().st_size / 1e6:.1f} MB)" for file in written.files),
        "format": f"{written.format.title}, {described.precision}",
        "model": f"{described.model.architecture}, {described.model.numerics} numerics",
        "weights": _source(described.source),
        "input": _tensor(described.input),
        "output": f"{described.output} (batch, {described.outputs})",
        "classes": f"{names[0]} … {names[-1]}" if names else "no names in the model's file",
        "preprocessing": preprocessing_in_words(described.preprocessing.to_dict()),
        "checked": f"largest difference {agreement['difference']:.1e} of "
        f"{agreement['relative_to']} on {count_of(agreement['images'], 'image')}; "
        f"at most {agreement['tolerance']:g} is allowed",
    }
    for title, value in rows.items():
        table.add_row(title, Text(value, overflow="fold"))
    Console().print(table)
    print(f"\nIn Python, without this package:\n\n{usage(written.path, described)}")


def _source(source: dict[str, Any]) -> str:
    if "sha256" not in source:
        return f"digest {source['weights_digest'][:16]}…"
    return f"{source['file']}, sha256 {source['sha256'][:16]}…"


def _tensor(told: dict[str, Any]) -> str:
    low, high = (f"{value:.4g}" for value in told["range"])
    shape = ", ".join(map(str, told["shape"]))
    return f"{told['name']} ({shape}) {told['dtype']}, {told['colours']}, {low} to {high}"


def _parse(arguments: Sequence[str]) -> "Namespace":
    parser = new_parser("export", DESCRIPTION)
    add = parser.add_argument
    add("model", type=str, help="Run directory, checkpoint, weights file (Keras', timm's), name.")
    add("target", type=str, help="New file: .onnx, .pt2 or .xml.")
    add("--format", type=str | None, help="onnx, pt2 or openvino; by default TARGET's ending says.")
    add(
        "--precision",
        type=Literal["float32", "float16", "int8"],
        default="float32",
        help="float16 halves the file; int8 quarters it and needs --calibration. Not for .pt2.",
    )
    add(
        "--pixels",
        action="store_true",
        help="The file takes images (batch, height, width, 3) of bytes and scales them itself.",
    )
    add(
        "--head",
        type=Literal["logits", "softmax", "none"],
        default="logits",
        help="What comes out: logits, probabilities, or the features that the classifier reads.",
    )
    add(
        "--calibration",
        type=str | None,
        help="int8: folder of images like those to be classified, data set or recipe.",
    )
    add_weights_option(parser)
    add_preprocessing_options(parser, "the model's")
    add("--overwrite", action="store_true", help="Replace a target that exists.")
    return parse(parser, arguments)
