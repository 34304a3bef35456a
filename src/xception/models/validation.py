"""Checks of constructor arguments: each failure is one sentence with the culprit and the remedy."""

import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from xception.errors import InputError, nearest


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Returns ``value`` if it is one of ``choices``; raises InputError otherwise."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        listed = ", ".join(repr(choice) for choice in choices)
        hint = nearest(str(value), [str(choice) for choice in choices])
        raise InputError(f"{name}={value!r} is not possible: choose one of {listed}{hint}")
    return value


def check_integer(name: str, value: Any, at_least: int = 1) -> int:
    """Returns ``value`` as an int if it is a whole number not below ``at_least``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < at_least:
        raise InputError(
            f"{name}={value!r} is not possible: give a whole number of at least {at_least}"
        )
    return int(value)


def check_fraction(name: str, value: Any) -> float:
    """Returns ``value`` as a float if it is a probability below one: 0 ≤ value < 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise InputError(f"{name}={value!r} is not possible: give a number from 0 to below 1")
    return float(value)


def check_positive(name: str, value: Any) -> float:
    """Returns ``value`` as a float if it is a finite number above zero."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 < value < float("inf")
    ):
        raise InputError(f"{name}={value!r} is not possible: give a number above 0")
    return float(value)


def check_flag(name: str, value: Any) -> bool:
    """Returns ``value`` if it is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name}={value!r} is not possible: give true or false")
    return value


def check_integers(
    name: str, values: Any, *, length: int | None = None, at_least: int = 1
) -> tuple[int, ...]:
    """Returns a list of whole numbers as a tuple, of exactly ``length`` where that is given."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name}={values!r} is not possible: give a list of whole numbers")
    checked = tuple(check_integer(name, value, at_least) for value in values)
    if length is not None and len(checked) != length:
        raise InputError(f"{name}={list(checked)} has {len(checked)} entries: give {length}")
    return checked


def check_images(images: Tensor, in_channels: int, minimum_size: int) -> None:
    """Raises InputError if a model cannot read ``images``.

    Args:
        images: What the user gave; it should be (N, in_channels, H, W) floating point.
        in_channels: Channels that the model reads.
        minimum_size: Smallest height and width, pixels.
    """
    if images.ndim != 4 or images.shape[1] != in_channels:
        raise InputError(
            f"images of shape {tuple(images.shape)} do not fit: give (N, {in_channels}, H, W)"
        )
    if not images.is_floating_point():
        raise InputError(
            f"images of type {images.dtype} do not fit: give floating point in [-1, 1], "
            "for bytes that is x / 127.5 - 1"
        )
    if min(images.shape[2], images.shape[3]) < minimum_size:
        raise InputError(
            f"images of {images.shape[2]}x{images.shape[3]} pixels are too small: this model "
            f"needs at least {minimum_size}x{minimum_size} (enlarge them, or build the model with "
            "smaller stem_strides)"
        )


def check_segments(segments: Any, channels: Iterable[int], remedy: str = "") -> int | str:
    """Returns ``segments`` if it divides every entry of ``channels`` (or is "depthwise").

    Args:
        segments: Number of channel segments, or "depthwise" (one per channel).
        channels: Channels of every spatial convolution that is to be segmented.
        remedy: Further advice, appended to the error.

    Raises:
        InputError: With the nearest valid numbers below and above.
    """
    import math

    if segments == "depthwise":
        return "depthwise"
    if isinstance(segments, str):
        raise InputError(f"segments={segments!r} is not possible: give a number or 'depthwise'")
    segments = check_integer("segments", segments)
    channels = list(channels)
    greatest = math.gcd(*channels)
    if greatest % segments:
        divisors = [d for d in range(1, greatest + 1) if greatest % d == 0]
        near = [max((d for d in divisors if d < segments), default=None)]
        near.append(min((d for d in divisors if d > segments), default=None))
        listed = " and ".join(str(d) for d in near if d is not None)
        widths = ", ".join(str(c) for c in sorted(set(channels)))
        raise InputError(
            f"segments={segments} does not divide the widths {widths} evenly: the valid numbers "
            f"nearest to it are {listed}, or 'depthwise'{remedy}"
        )
    return segments
