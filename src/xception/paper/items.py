"""The paper's tables and figures, and its smaller claims, each as a list of things to train."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xception.errors import InputError, nearest
from xception.paper.scale import VGG_STYLE, Scale
from xception.paper.variants import continuum_points, point, slug

Metric = Literal["top1", "map"]


@dataclass(frozen=True)
class Item:
    """A table, a figure or a claim.

    Attributes:
        name: On the command line.
        title: What it shows.
        place: Where it stands in the paper.
        kind: "drawing", "cells" (trained), "speed" (measured) or "absent".
        variants: What is trained for it, by name.
        absent: Why it can't be run.
        metric: What its cells are compared by: "top1", or "map" on the multi-label task.
        reference: The variant that the others' differences are taken to.
    """

    name: str
    title: str
    place: str
    kind: Literal["drawing", "cells", "speed", "absent"]
    variants: tuple[str, ...] = ()
    absent: str = ""
    metric: Metric = "top1"
    reference: str = "xception"


def items(scale: Scale) -> dict[str, Item]:
    """Every item of the paper at a scale, in the paper's order."""
    activations = tuple(f"activation-{activation}" for activation in scale.activations)
    rates = tuple(f"no-residual-rate-{rate}" for rate in scale.learning_rates)
    spectrum = tuple(
        point(segments, activation)
        for segments in continuum_points(scale)
        for activation in ("none", *scale.activations)
    )
    both = ("xception", "inception-v3")
    table_1 = (*map(slug, scale.comparators), *both)
    plain = ("multi-label-xception", "multi-label-inception-v3")
    dense = tuple(f"{name}-fc" for name in plain)

    def single(name: str, title: str, place: str, *trained: str) -> Item:
        return _item(name, title, place, trained, scale.single_label_elsewhere)

    def multi(name: str, title: str, place: str, *trained: str) -> Item:
        return _item(name, title, place, trained, scale.multi_label_elsewhere, "map")

    size_and_speed = ("table-3", "Size and training speed", "table 3")
    found = [
        Item("figure-1", "A canonical Inception module", "figure 1", "drawing"),
        Item("figure-2", "A simplified Inception module", "figure 2", "drawing"),
        Item("figure-3", "The same with one large 1×1 convolution", "figure 3", "drawing"),
        Item("figure-4", "An “extreme” Inception module", "figure 4", "drawing"),
        Item("figure-5", "The Xception architecture", "figure 5", "drawing"),
        single("table-1", "Accuracy on ImageNet", "table 1", *table_1),
        multi("table-2", "MAP@100 on JFT", "table 2", *plain, *dense),
        single(*size_and_speed) if scale.single_label_elsewhere else Item(*size_and_speed, "speed"),
        single("figure-6", "Training profile on ImageNet", "figure 6", *both),
        multi("figure-7", "Training profile on JFT, no fully-connected layers", "figure 7", *plain),
        multi(
            "figure-8", "Training profile on JFT, with fully-connected layers", "figure 8", *dense
        ),
        single(
            "figure-9",
            "Training profile with and without residual connections",
            "figure 9, section 4.6",
            *("xception", "no-residual"),
        ),
        single(
            "learning-rates",
            "The network without residual connections at other learning rates",
            "section 4.6",
            *("xception", "no-residual", *rates),
        ),
        multi(
            VGG_STYLE,
            "A VGG-like stack of separable convolutions on JFT",
            "section 4.6",
            *("multi-label-inception-v3", VGG_STYLE),
        ),
        single(
            "figure-10",
            "Training profile with intermediate activations",
            "figure 10, section 4.7",
            *("xception", *activations),
        ),
        single(
            "order",
            "Which of the two operations comes first",
            "section 1.2",
            *("xception", "pointwise-first"),
        ),
        single(
            "weight-decay",
            "Inception V3's weight decay on Xception",
            "section 4.3",
            *("xception", "weight-decay-of-inception-v3"),
        ),
        single(
            "spectrum",
            "From regular to depthwise separable convolution",
            "sections 1.2, 4.7 and 5",
            *spectrum,
        ),
    ]
    return {item.name: item for item in found}


def _item(
    name: str,
    title: str,
    place: str,
    trained: tuple[str, ...],
    elsewhere: str,
    metric: Metric = "top1",
) -> Item:
    """An item that is trained, or absent where its task is elsewhere."""
    if elsewhere:
        return Item(name, title, place, "absent", absent=elsewhere)
    reference = "xception" if metric == "top1" else trained[0]
    return Item(name, title, place, "cells", trained, "", metric, reference)


def choose_items(scale: Scale, names: Sequence[str]) -> list[Item]:
    """The items of those names, all without any.

    Raises:
        InputError: There is no such item.
    """
    known = items(scale)
    for name in names:
        if name not in known:
            raise InputError(
                f"there is no item '{name}'{nearest(name, list(known))}; the items are "
                f"{', '.join(known)}"
            )
    return [item for item in known.values() if not names or item.name in names]
