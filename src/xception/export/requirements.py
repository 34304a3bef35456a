"""What has to be true before an export begins: a place for the file, a model that it can hold."""

import os
from pathlib import Path

from xception.errors import InputError
from xception.export.exported_network import OUTPUTS, Head
from xception.export.formats import Format
from xception.weights.files import LoadedModel


def require_target(path: Path, known: Format, overwrite: bool) -> None:
    """Checks that the files can be written.

    Raises:
        InputError: One is there already, or its directory is not, or can't be written.
    """
    for suffix in known.suffixes:
        file = path.with_suffix(suffix)
        if file.is_dir():
            raise InputError(f"{file} is a directory; name a file")
        if file.exists() and not overwrite:
            raise InputError(f"{file} exists: take another name, or allow it with --overwrite")
    if not path.parent.is_dir():
        raise InputError(f"there is no directory {path.parent} to write {path.name} into: make it")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"the directory {path.parent} is not writable: name a file elsewhere")


def require_exportable(loaded: LoadedModel, *, pixels: bool, head: Head) -> None:
    """Checks that a model gives one output of the kind that is asked for.

    Raises:
        InputError: It does not, or takes no images of that size.
    """
    if head not in OUTPUTS:
        raise InputError(f"there is no head '{head}'; give {', '.join(OUTPUTS)}")
    model = loaded.model
    if not hasattr(model, "arguments"):
        raise InputError(f"{loaded.path} is open as an engine: export the model itself")
    if getattr(model, "features_only", False):
        raise InputError(
            "the model's output is a list of feature maps, and an exported file has one output; "
            "build it without features_only"
        )
    if head == "softmax" and not model.num_classes:
        raise InputError(
            "the model has no classifier, so there is nothing for --head softmax: leave it out to "
            "export its features"
        )
    if head == "softmax" and loaded.description.multi_label:
        raise InputError(
            "an image may have several of the model's classes, so that their probabilities are no "
            "softmax: take --head logits, and the sigmoid of each"
        )
    channels = int(getattr(model, "in_channels", 3))
    if pixels and channels != 3:
        raise InputError(
            f"the model takes images of {channels} channel{'s' * (channels != 1)}, and --pixels "
            "scales red, green and blue: leave it out"
        )
    size, least = loaded.preprocessing.size, int(getattr(model, "minimum_input_size", 1))
    if size < least:
        raise InputError(
            f"images of {size} pixels are too small: the network takes {least} or more; "
            "give --image-size"
        )
