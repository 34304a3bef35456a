"""The sizes at which the paper's experiments can be run."""

from xception.errors import InputError, nearest
from xception.paper.large_scales import IMAGENET, JFT
from xception.paper.scale import Scale
from xception.paper.small_scales import CIFAR10, DIGITS

SCALES = {scale.name: scale for scale in (DIGITS, CIFAR10, IMAGENET, JFT)}


def find_scale(name: str) -> Scale:
    """The scale of that name.

    Raises:
        InputError: There is none.
    """
    if name not in SCALES:
        raise InputError(
            f"there is no scale '{name}'{nearest(name, list(SCALES))}; the scales are "
            f"{', '.join(SCALES)}"
        )
    return SCALES[name]
