"""Whether an exported file computes what the model does."""

from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from xception.data.preprocessing import Preprocessing
from xception.errors import RunFailedError
from xception.export.agreement import (
    FLOAT16_TOLERANCE,
    INT8_TOLERANCE,
    random_images,
    require_agreement,
    require_likeness,
)
from xception.export.calibration import Calibration
from xception.export.engine import FLOAT32_TOLERANCE, Run
from xception.export.exported_description import ExportedDescription, Precision
from xception.export.exported_network import Head, headless
from xception.export.opening import LEAST_PROBABILITY

BATCHES = (1, 2, 5)  # images in the calls that are compared
TOLERANCES: dict[Precision, float] = {
    "float32": FLOAT32_TOLERANCE,
    "float16": FLOAT16_TOLERANCE,
    "int8": INT8_TOLERANCE,
}


def compare_with_model(
    reference: Run,
    run: Run,
    described: ExportedDescription,
    calibration: Calibration | None,
    name: str,
) -> dict[str, Any]:
    """Compares an exported file with the model.

    Args:
        reference: See `reference_of`.
        run: The file, as an engine takes it.
        described: What the file is.
        calibration: The images of an 8-bit file; others are compared on `check_batches`.
        name: Of the file, for messages.

    Returns:
        The "difference", its "tolerance", the "images" and what it is "relative_to".

    Raises:
        RunFailedError: It is above the tolerance, or the model's own output is not finite.
    """
    tolerance = TOLERANCES[described.precision]
    batches = check_batches(described.preprocessing, described.in_channels)
    if not all(reference(images).isfinite().all() for images in batches):
        raise RunFailedError(
            "the model's output is not finite (NaN or infinite); its weights are damaged or its "
            "training diverged: take an earlier checkpoint"
        )
    if calibration:
        remedy = "give other --calibration images or take another --precision"
        preprocessing = described.preprocessing
        difference = require_likeness(reference, run, calibration, preprocessing, name, remedy)
        compared = {"images": len(calibration.crops), "relative_to": "the spread of the outputs"}
    else:
        remedy = "take another format"
        if described.precision != "float32":
            remedy = "take another --precision"
        difference = require_agreement(reference, run, batches, name, remedy, tolerance)
        compared = {"images": sum(BATCHES), "batches": list(BATCHES)}
        compared["relative_to"] = "the largest output"
    return {"difference": float(f"{difference:.2e}"), "tolerance": tolerance, **compared}


def check_batches(preprocessing: Preprocessing, in_channels: int = 3) -> list[Tensor]:
    """Images for the comparison, noise and smooth ones in turn, as the network takes them."""
    size, count = preprocessing.size, sum(BATCHES)
    if in_channels != 3:
        return list(random_images(size, count, in_channels).split(list(BATCHES)))
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (count, 3, size, size), generator=generator)
    coarse = torch.randint(0, 256, (count, 3, 4, 4), generator=generator).float()
    smooth = interpolate(coarse, (size, size), mode="bilinear").to(crops.dtype)
    crops[::2] = smooth[::2]
    return list(preprocessing.normalize(crops.to(torch.uint8)).split(list(BATCHES)))


def reference_of(model: nn.Module, head: Head) -> Run:
    """What the file should give, once it is as an engine takes it."""
    if head == "none":
        return headless(model)
    if head == "logits":
        return model

    def log_probabilities(images: Tensor) -> Tensor:
        found: Tensor = model(images)
        return found.log_softmax(1).clamp(min=log(LEAST_PROBABILITY))

    return log_probabilities
