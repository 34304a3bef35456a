"""What an exported file says of itself, so that whoever gets it needs nothing else."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from xception.data.preprocessing import Preprocessing
from xception.errors import InputError
from xception.export.conversion import INPUT
from xception.weights.description import ModelDescription

Precision = Literal["float32", "float16", "int8"]
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ExportedDescription:
    """The metadata of an exported file.

    Attributes:
        model: Architecture, arguments, numerics, provenance and class names.
        preprocessing: How an image becomes the input. With pixels as input, the scaling by mean and
            std is in the file already.
        pixels: Whether the input is (N, S, S, 3) uint8; else (N, in_channels, S, S) float32.
        output: "logits", "probabilities" or "features".
        outputs: How many of them.
        precision: "float32"; "float16" weights; or "int8" weights and activations.
        producer: The program and its version.
        source: Of the weights: the file's name and sha256, and the digest of the tensors.
        agreement: The comparison with the model: "difference", "tolerance", "images" and what the
            difference is relative to.
        quantisation: Of 8-bit files: where the calibration images come from, how many they were.
    """

    model: ModelDescription
    preprocessing: Preprocessing
    pixels: bool
    output: str
    outputs: int
    precision: Precision
    producer: str
    source: dict[str, Any]
    agreement: dict[str, Any] = field(default_factory=dict)
    quantisation: dict[str, Any] = field(default_factory=dict)

    @property
    def in_channels(self) -> int:
        """Channels of the images."""
        return int(self.model.arguments.get("in_channels", 3))

    @property
    def input(self) -> dict[str, Any]:
        """Name, layout, shape, type and range of the input."""
        size = self.preprocessing.size
        if self.pixels:
            shape, layout = ["batch", size, size, 3], "NHWC"
            kind: dict[str, Any] = {"dtype": "uint8", "range": [0, 255]}
        else:
            shape, layout = ["batch", self.in_channels, size, size], "NCHW"
            kind = {"dtype": "float32", "range": self._range()}
        colours = "RGB" if self.in_channels == 3 else f"{self.in_channels} channels"
        return {"name": INPUT, "layout": layout, "shape": shape, **kind, "colours": colours}

    def _range(self) -> list[float]:
        """The smallest and the largest value that scaled pixels take."""
        if self.in_channels != 3:
            return [-1.0, 1.0]
        pairs = list(zip(self.preprocessing.mean, self.preprocessing.std, strict=True))
        return [min(-m / s for m, s in pairs), max((1 - m) / s for m, s in pairs)]

    def to_metadata(self) -> dict[str, Any]:
        """The entries of the file, JSON primitives."""
        model = asdict(self.model)
        names = model.pop("class_names")
        model.pop("preprocessing")
        told: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "producer": self.producer,
            "class_names": names,
            "preprocessing": self.preprocessing.to_dict(),
            "input": self.input,
            "output": {"name": self.output, "shape": ["batch", self.outputs]},
            "precision": self.precision,
            "model": model,
            "source": self.source,
            "agreement": self.agreement,
            "quantisation": self.quantisation,
        }
        return {name: value for name, value in told.items() if value not in (None, {})}

    def to_strings(self) -> dict[str, str]:
        """The entries for files that hold texts: JSON, but for the producer and the precision."""
        return {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in self.to_metadata().items()
        }

    @classmethod
    def from_metadata(cls, told: Mapping[str, Any], origin: str) -> "ExportedDescription":
        """Reads the entries of a file, as values or as texts.

        Args:
            told: What the file holds.
            origin: Its name, for messages.

        Raises:
            InputError: They are missing, damaged, or newer than this program.
        """
        try:
            values = {
                name: _value(name, told[name])
                for name in ENTRIES
                if name in _NEEDED or name in told
            }
            version = int(values["format_version"])
            if version > FORMAT_VERSION:
                raise InputError(
                    f"{origin} has format version {version}, this program reads up to "
                    f"{FORMAT_VERSION}: update it (pip install --upgrade xception)"
                )
            names = values.get("class_names")
            model = ModelDescription.from_dict(values["model"] | {"class_names": names}, origin)
            return cls(
                model=model,
                preprocessing=Preprocessing.from_dict(values["preprocessing"]),
                pixels=values["input"]["layout"] == "NHWC",
                output=str(values["output"]["name"]),
                outputs=int(values["output"]["shape"][1]),
                precision=values["precision"],
                producer=str(values["producer"]),
                source=dict(values["source"]),
                agreement=dict(values.get("agreement", {})),
                quantisation=dict(values.get("quantisation", {})),
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"{origin} does not say what it is (its metadata lack or spoil {error}): only "
                "files written by xception export can be used here"
            ) from error


_TEXTS = ("producer", "precision")
_NEEDED = (
    "format_version",
    "producer",
    "preprocessing",
    "input",
    "output",
    "precision",
    "model",
    "source",
)
_OPTIONAL = ("class_names", "agreement", "quantisation")
ENTRIES = (*_NEEDED, *_OPTIONAL)


def _value(name: str, told: Any) -> Any:
    return json.loads(told) if isinstance(told, str) and name not in _TEXTS else told
