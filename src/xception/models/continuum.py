"""Section 1.2's continuum between a convolution and a depthwise separable one, at equal capacity.

The number of segments is the one coordinate: 1 is a regular convolution (beside a 1x1), as many as
there are channels is Xception. Fewer segments mean more parameters, so that all widths shrink until
the network is as large as Xception again, and they must divide by the number of segments.
"""

import inspect
import math
from collections.abc import Iterator
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xception.errors import InputError
from xception.models.layers import Order
from xception.models.validation import check_choice, check_integer, check_integers, check_positive
from xception.models.xception import Xception, resolve_widths
from xception.models.xception_flows import Widths

_TOLERANCE = 0.01


def parameter_count(
    widths: Any,
    *,
    segments: int | Literal["depthwise"] = "depthwise",
    order: Order = "depthwise-first",
    middle_flow_repeats: int = 8,
    residual: bool = True,
    in_channels: int = 3,
    num_classes: int = 1000,
    fc_units: tuple[int, ...] = (),
) -> Any:
    """Returns the trainable parameters of an Xception, by arithmetic.

    Args:
        widths: Eight channel numbers, the fields of ``Widths`` in order, or arrays of them.
        segments: As in Xception; the rest too.
        order: As in Xception.
        middle_flow_repeats: As in Xception.
        residual: As in Xception.
        in_channels: As in Xception.
        num_classes: As in Xception.
        fc_units: As in Xception.

    Example:
        >>> parameter_count(Widths())
        22855952
    """
    conv1, conv2, entry1, entry2, middle, exit_, separable1, separable2 = widths

    def separable(inputs: Any, outputs: Any) -> Any:
        channels = inputs if order == "depthwise-first" else outputs
        taps = 9 * channels * (1 if segments == "depthwise" else channels // segments)
        return taps + inputs * outputs + 2 * outputs

    count = 9 * in_channels * conv1 + 2 * conv1 + 9 * conv1 * conv2 + 2 * conv2
    for inputs, mid, outputs in (
        (conv2, entry1, entry1),
        (entry1, entry2, entry2),
        (entry2, middle, middle),
        (middle, middle, exit_),
    ):
        count = count + separable(inputs, mid) + separable(mid, outputs)
        if residual:
            count = count + inputs * outputs + 2 * outputs
    count = count + 3 * middle_flow_repeats * separable(middle, middle)
    count = count + separable(exit_, separable1) + separable(separable1, separable2)
    features = separable2
    for units in (*fc_units, num_classes):
        count = count + features * units + units if units else count
        features = units
    return count


def continuum_widths(
    segments: int | Literal["depthwise"], *, order: Order = "depthwise-first", **network: Any
) -> Widths:
    """Chooses the widths of a point of the continuum.

    Args:
        segments: Segments of all spatial convolutions, or "depthwise".
        order: "depthwise-first" or "pointwise-first".
        **network: ``width`` and what else ``parameter_count`` takes: the Xception to be equal to.

    Returns:
        The widths closest in proportion to Xception's that divide by ``segments`` and have its
        parameter count to within 1 %; multiples of 8 where that leaves enough choice.

    Raises:
        InputError: There are none: so many segments want wider layers than the count allows.

    Example:
        >>> continuum_widths(4).middle
        432
    """
    check_choice("order", order, ["depthwise-first", "pointwise-first"])
    reference = resolve_widths(network.pop("width", 1.0), None)
    if segments == "depthwise":
        return reference
    check_integer("segments", segments)
    widths = _search(segments, order, reference, network)
    widths = widths or _search(segments, order, reference, network, reach=2)
    if widths is None:
        below, above = (
            next((n for n in numbers if _search(n, order, reference, network)), None)
            for numbers in (range(segments - 1, 0, -1), range(segments + 1, segments + 65))
        )
        near = " and ".join(str(n) for n in (below, above) if n)
        raise InputError(
            f"segments={segments} has no widths that divide by it with the parameter count of "
            f"Xception to within 1 %: the nearest numbers that have are {near}, or 'depthwise'"
        )
    return widths


def _search(
    segments: int, order: Order, reference: Widths, network: dict[str, Any], reach: int = 1
) -> Widths | None:
    """Returns the least distorted widths within the tolerance, or None.

    Args:
        segments: What the widths must divide by.
        order: "depthwise-first" or "pointwise-first".
        reference: Xception's widths.
        network: What else the count depends on.
        reach: Multiples below and above each scaled width that are tried.
    """
    target = parameter_count(reference, **network)
    smallest = parameter_count([8, *[segments] * 7], segments=segments, order=order, **network)
    if smallest > target * (1 + _TOLERANCE):
        return None
    step = math.lcm(segments, 8)
    step = step if step <= 64 else segments
    best: tuple[float, Widths] | None = None
    for candidates in _candidates(reference, step, order, reach):
        counts = parameter_count(candidates, segments=segments, order=order, **network)
        fits = np.abs(counts / target - 1) < _TOLERANCE
        if not fits.any():
            continue
        kept = np.stack(candidates)[:, fits]  # (8, those that fit)
        spread = np.log(kept / np.array(reference)[:, None]).std(0)
        i = int(spread.argmin())
        if best is None or spread[i] < best[0]:
            best = float(spread[i]), Widths(*(int(c) for c in kept[:, i]))
    return best[1] if best else None


def _candidates(
    reference: Widths, step: int, order: Order, reach: int
) -> Iterator[list[NDArray[np.int64]]]:
    """Yields, for a row of scales, all roundings of the scaled widths to multiples of ``step``.

    The first and the last convolution's widths need not divide: the last is moved a little, too.
    """
    segmented = range(1, 7) if order == "depthwise-first" else range(2, 8)
    for scale in np.geomspace(0.2, 1.5, 100):
        options: list[list[int]] = []
        for i, channels in enumerate(reference):
            exact = channels * scale
            if i in segmented:
                below = math.floor(exact / step)
                multiples = range(below - reach + 1, below + reach + 1)
                options.append(sorted({max(1, multiple) * step for multiple in multiples}))
            elif i == 7:
                options.append([_eights(exact * factor) for factor in (0.9, 0.95, 1, 1.05, 1.1)])
            else:
                options.append([_eights(exact)])
        yield [np.array(c, dtype=np.int64) for c in zip(*product(*options), strict=True)]


def _eights(channels: float) -> int:
    return max(8, round(channels / 8) * 8)


def xception_continuum(
    *,
    segments: int | Literal["depthwise"] = "depthwise",
    order: Order = "depthwise-first",
    **arguments: Any,
) -> Xception:
    """Builds the point of the continuum with ``segments`` segments, as large as Xception.

    Args:
        segments: Segments of all spatial convolutions, or "depthwise".
        order: "depthwise-first" or "pointwise-first".
        **arguments: The other arguments of Xception but ``widths``; ``width`` sets the size of the
            Xception whose parameter count is kept.

    Returns:
        An Xception with explicit ``widths``.

    Raises:
        InputError: An argument is out of range, or there is no such point.
    """
    network: dict[str, Any] = {"width": check_positive("width", arguments.pop("width", 1.0))}
    for name in ("middle_flow_repeats", "in_channels", "num_classes"):
        if name in arguments:
            network[name] = check_integer(name, arguments[name], at_least=0)
    network["residual"] = arguments.get("residual", True)
    network["fc_units"] = check_integers("fc_units", arguments.get("fc_units", ()))
    widths = continuum_widths(segments, order=order, **network)
    return Xception(segments=segments, order=order, widths=widths, **arguments)


_signature = inspect.signature(Xception)
xception_continuum.__signature__ = _signature.replace(  # type: ignore[attr-defined]
    parameters=[p for name, p in _signature.parameters.items() if name != "widths"]
)
