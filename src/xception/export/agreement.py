"""Whether a conversion still computes what the network does."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xception.data.preprocessing import Preprocessing
from xception.errors import RunFailedError
from xception.export.calibration import Calibration
from xception.export.engine import FLOAT32_TOLERANCE, Run

CHECKED = 3  # random images that a new conversion must agree on with the network
BFLOAT16_TOLERANCE = 0.1
"""Largest difference of a bfloat16 engine's logits, over the largest logit.

bfloat16 keeps 8 bits, and 40 layers of it cost 0.003 to 0.01. Whether the conversion computes
the right thing is found in float32; this finds a library that fails at bfloat16."""
FLOAT16_TOLERANCE = 0.01
"""As ``FLOAT32_TOLERANCE``, in float16, whose steps are 2**-11 of a number: 3e-4 was measured."""

INT8_TOLERANCE = 0.5
"""Largest difference of an 8-bit model's logits on the calibration images, over their spread.

8 bits cost a few hundredths; half of the spread is what images scaled in another way give."""


def random_images(size: int, count: int = CHECKED, in_channels: int = 3) -> Tensor:
    """Noise as a network takes it, (count, in_channels, size, size) in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, in_channels, size, size, generator=generator) * 2 - 1


def require_agreement(
    network: Run,
    run: Run,
    batches: Sequence[Tensor],
    name: str,
    remedy: str,
    tolerance: float = FLOAT32_TOLERANCE,
) -> float:
    """The largest difference of a conversion to the network, over the network's largest output.

    Args:
        network: What should be computed.
        run: What was made of it.
        batches: Images for both.
        name: What to call the conversion.
        remedy: What the user can do, for the message.
        tolerance: The largest difference that is allowed.

    Raises:
        RunFailedError: It is above the tolerance.
    """
    with torch.inference_mode():
        expected = torch.cat([network(images) for images in batches])
        found = torch.cat([run(images) for images in batches])
    difference = float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-9))
    if expected.isfinite().all() and not difference <= tolerance:
        raise RunFailedError(
            f"{name} computes something else than the model (difference {difference:.1e}, "
            f"tolerance {tolerance:.0e}); {remedy}"
        )
    return difference


def require_likeness(
    network: Run,
    run: Run,
    calibration: Calibration,
    preprocessing: Preprocessing,
    name: str,
    remedy: str,
) -> float:
    """The largest difference of an 8-bit model to the network, over the spread of its logits.

    Args:
        network: What should be computed.
        run: What was made of it.
        calibration: The images on which the two are compared.
        preprocessing: Scales them.
        name: What to call the conversion.
        remedy: What the user can do, for the message.

    Raises:
        RunFailedError: It is above ``INT8_TOLERANCE``, or a logit is not finite.
    """
    expected, found = [], []
    with torch.inference_mode():
        for crop in calibration.crops:  # one at a time: a few hundred maps would not fit
            image = preprocessing.normalize(crop[None])
            expected.append(network(image))
            found.append(run(image))
    wanted, given = torch.cat(expected), torch.cat(found)
    if not given.isfinite().all():
        raise RunFailedError(
            f"{name} gives logits that are not finite numbers on the calibration images of "
            f"{calibration.origin}; {remedy}"
        )
    difference = float((wanted - given).abs().max() / (wanted.max() - wanted.min()).clamp(min=1e-9))
    if not difference <= INT8_TOLERANCE:
        raise RunFailedError(
            f"{name} computes something else than the model on the calibration images of "
            f"{calibration.origin} (difference {difference:.2f} of the logits' spread, at most "
            f"{INT8_TOLERANCE}); {remedy}"
        )
    return difference
