"""Whether a conversion still computes what the network does."""

import torch

from xception.errors import RunFailedError
from xception.export.calibration import Calibration
from xception.export.engine import FLOAT32_TOLERANCE, Run
from xception.weights.files import LoadedModel

CHECKED = 3  # random images that a new conversion must agree on with the network
BFLOAT16_TOLERANCE = 0.1
"""Largest difference of a bfloat16 engine's logits, over the largest logit.

bfloat16 keeps 8 bits, and 40 layers of it cost 0.003 to 0.01. Whether the conversion computes
the right thing is found in float32; this finds a library that fails at bfloat16."""
INT8_TOLERANCE = 0.5
"""Largest difference of an 8-bit model's logits on the calibration images, over their spread.

8 bits cost a few hundredths; half of the spread is what images scaled in another way give."""


def require_agreement(
    loaded: LoadedModel, run: Run, engine: str, tolerance: float = FLOAT32_TOLERANCE
) -> float:
    """The largest difference to the network on random images, over its largest logit.

    Raises:
        RunFailedError: It is above the tolerance.
    """
    size = loaded.preprocessing.size
    images = torch.rand(CHECKED, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected, found = loaded.model.eval()(images), run(images)
    difference = float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-9))
    if expected.isfinite().all() and not difference <= tolerance:
        raise RunFailedError(
            f"{engine} computes something else than the model (difference {difference:.1e}, "
            f"tolerance {tolerance:.0e}); take another --engine"
        )
    return difference


def require_likeness(loaded: LoadedModel, run: Run, calibration: Calibration) -> float:
    """The largest difference of an 8-bit model to the network, over the spread of its logits.

    Raises:
        RunFailedError: It is above ``INT8_TOLERANCE``, or a logit is not finite.
    """
    model = loaded.model.eval()
    expected, found = [], []
    with torch.inference_mode():
        for crop in calibration.crops:  # one at a time: a few hundred maps would not fit
            image = loaded.preprocessing.normalize(crop[None])
            expected.append(model(image))
            found.append(run(image))
    wanted, given = torch.cat(expected), torch.cat(found)
    remedy = "give other --calibration images or take another --engine"
    if not given.isfinite().all():
        raise RunFailedError(
            "openvino-int8 gives logits that are not finite numbers on the calibration images of "
            f"{calibration.origin}; {remedy}"
        )
    difference = float((wanted - given).abs().max() / (wanted.max() - wanted.min()).clamp(min=1e-9))
    if not difference <= INT8_TOLERANCE:
        raise RunFailedError(
            "openvino-int8 computes something else than the model on the calibration images of "
            f"{calibration.origin} (difference {difference:.2f} of the logits' spread, at most "
            f"{INT8_TOLERANCE}); {remedy}"
        )
    return difference
