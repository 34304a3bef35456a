"""A validation split out of the training images: what a search may look at instead of test images.

Learning rates chosen on the images that the result is later reported on make that result too good.
A search (``xception tune``) holds out a share of the training images, and leaves the others alone.
"""

from typing import Literal, cast

import numpy as np

from xception.data.held_out import held_out_by_name, held_out_by_position
from xception.data.multi_label import split_rows
from xception.data.sources import (
    AnySource,
    ImageSource,
    Subset,
    file_names,
    is_multi_label,
)
from xception.errors import InputError

_STREAM = 1_000_003
"""Keeps this draw apart from the one of ``validation_fraction``, which has the same seed."""


def tuning_split(
    training: AnySource,
    split: Literal["train", "evaluation"],
    fraction: float,
    seed: int,
    *,
    by_name: bool = False,
) -> Subset:
    """The part of the training images that is trained on, or the part that is held out.

    A pure function of its arguments; the parts are disjoint and together all of them. Of images
    with one label each class gives its share; of images with several, a random share is held out.

    Args:
        training: All training images.
        split: Which part.
        fraction: Share that is held out, in (0, 1).
        seed: Chooses it.
        by_name: Draws by the files' names, as a folder's held-out share is drawn: stable where
            images come or go.

    Raises:
        InputError: A fraction outside (0, 1), or nothing is left to hold out.
    """
    if not 0 < fraction < 1:
        raise InputError(f"data.tuning_fraction is {fraction}; it must be between 0 and 1")
    if len(training) < 2:
        raise InputError("there is a single training image: none can be held out for tuning")
    if is_multi_label(training):
        return Subset(training, split_rows(len(training), fraction, seed + _STREAM, split))
    labels = np.asarray(cast(ImageSource, training).labels)
    names = file_names(training) if by_name else None
    if names is None:
        held_out = held_out_by_position(labels, fraction, seed + _STREAM)
    else:
        held_out = held_out_by_name(names, labels, fraction, seed + _STREAM)
    if split == "evaluation":
        return Subset(training, held_out)
    return Subset(training, np.setdiff1d(np.arange(len(training)), held_out))
