"""The paper's tables and figures, and its smaller claims, each as a list of things to train."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from xception.errors import InputError, nearest
from xception.paper.scales import Scale

Segments = int | Literal["depthwise"]

MULTI_LABEL = "needs the multi-label recipes"
# Time of a step beside Xception's, measured on one CPU core at 32x32 pixels.
_RELATIVE_SECONDS = {1: 0.75, 2: 0.8, 4: 1.0, 8: 1.35, 16: 1.4}
_COMPARATOR_SECONDS = 2.0  # by their multiply-adds, not measured


@dataclass(frozen=True)
class Variant:
    """One network with one recipe; with a seed it makes a cell.

    Attributes:
        name: Of its directory.
        title: In tables and legends.
        recipe: A shipped recipe.
        overrides: Keys that differ from it.
        seconds: Expected for one cell.
    """

    name: str
    title: str
    recipe: str
    overrides: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


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
    """

    name: str
    title: str
    place: str
    kind: Literal["drawing", "cells", "speed", "absent"]
    variants: tuple[str, ...] = ()
    absent: str = ""


def variants(scale: Scale) -> dict[str, Variant]:
    """Everything that is trained at a scale, by name."""
    found: list[Variant] = []

    def add(name: str, title: str, factor: float = 1.0, **changes: str) -> None:
        keys = {key.replace("__", "."): value for key, value in changes.items()}
        overrides = {**scale.shared, **scale.of_xception, **keys}
        found.append(Variant(name, title, scale.xception, overrides, scale.cell_seconds * factor))

    add("xception", "Xception")
    found.append(
        Variant(
            "inception-v3",
            "Inception V3",
            scale.inception_v3,
            {**scale.shared, **scale.of_inception_v3},
            scale.cell_seconds * scale.inception_factor,
        )
    )
    for title, changes in scale.comparators.items():
        overrides = {**scale.shared, **changes}
        seconds = scale.cell_seconds * _COMPARATOR_SECONDS
        found.append(Variant(slug(title), title, scale.xception, overrides, seconds))
    add("no-residual", "without residual connections", model__residual="false")
    for rate in scale.learning_rates:
        add(
            f"no-residual-rate-{rate}",
            f"without residual connections, learning rate {rate}",
            model__residual="false",
            optimizer__learning_rate=rate,
        )
    for activation in scale.activations:
        title = f"intermediate {activation_title(activation)}"
        add(f"activation-{activation}", title, model__intermediate_activation=activation)
    add("pointwise-first", "pointwise before depthwise", model__order="pointwise-first")
    add(
        "weight-decay-of-inception-v3",
        f"Xception with weight decay {scale.other_weight_decay}",
        optimizer__weight_decay=scale.other_weight_decay,
    )
    found += _continuum(scale)
    return {variant.name: variant for variant in found}


def _continuum(scale: Scale) -> list[Variant]:
    points = []
    for segments in scale.segments:
        for activation in ("none", *scale.activations):
            overrides = {
                **scale.shared,
                **scale.of_continuum,
                "model.name": "xception_continuum",
                "model.segments": str(segments),
            }
            if activation != "none":
                overrides["model.intermediate_activation"] = activation
            count = "1 segment" if segments == 1 else f"{segments} segments"
            points.append(
                Variant(
                    point(segments, activation),
                    f"{count}, {activation_title(activation)}",
                    scale.continuum,
                    overrides,
                    scale.cell_seconds * _RELATIVE_SECONDS[segments],
                )
            )
    return points


def slug(title: str) -> str:
    """A network's title as the name of its variant.

    Example:
        >>> slug("Inception V3"), slug("VGG-16")
        ('inception-v3', 'vgg-16')
    """
    return title.lower().replace(" ", "-")


def activation_title(activation: str) -> str:
    """An intermediate activation's name for readers."""
    return {"none": "no activation", "relu": "ReLU", "elu": "ELU"}[activation]


def continuum_points(scale: Scale) -> tuple[Segments, ...]:
    """The points of the continuum that a scale has, from regular to depthwise convolution."""
    return (*scale.segments, "depthwise")


def point(segments: Segments, activation: str) -> str:
    """The name of the variant at a point of the continuum.

    Example:
        >>> point(4, "relu"), point("depthwise", "relu"), point("depthwise", "none")
        ('segments-4-relu', 'activation-relu', 'xception')
    """
    if segments == "depthwise":
        return "xception" if activation == "none" else f"activation-{activation}"
    return f"segments-{segments}" + ("" if activation == "none" else f"-{activation}")


def items(scale: Scale) -> dict[str, Item]:
    """Every item of the paper at a scale, in the paper's order."""
    activations = tuple(f"activation-{activation}" for activation in scale.activations)
    rates = tuple(f"no-residual-rate-{rate}" for rate in scale.learning_rates)
    spectrum = tuple(
        point(segments, activation)
        for segments in continuum_points(scale)
        for activation in ("none", *scale.activations)
    )
    others = tuple(map(slug, scale.comparators))
    both = ("xception", "inception-v3")
    found = [
        Item("figure-1", "A canonical Inception module", "figure 1", "drawing"),
        Item("figure-2", "A simplified Inception module", "figure 2", "drawing"),
        Item("figure-3", "The same with one large 1×1 convolution", "figure 3", "drawing"),
        Item("figure-4", "An “extreme” Inception module", "figure 4", "drawing"),
        Item("figure-5", "The Xception architecture", "figure 5", "drawing"),
        Item("table-1", "Accuracy on ImageNet", "table 1", "cells", (*others, *both)),
        Item("table-2", "MAP@100 on JFT", "table 2", "absent", absent=MULTI_LABEL),
        Item("table-3", "Size and training speed", "table 3", "speed"),
        Item("figure-6", "Training profile on ImageNet", "figure 6", "cells", both),
        Item(
            "figure-7",
            "Training profile on JFT, no fully-connected layers",
            "figure 7",
            "absent",
            absent=MULTI_LABEL,
        ),
        Item(
            "figure-8",
            "Training profile on JFT, with fully-connected layers",
            "figure 8",
            "absent",
            absent=MULTI_LABEL,
        ),
        Item(
            "figure-9",
            "Training profile with and without residual connections",
            "figure 9, section 4.6",
            "cells",
            ("xception", "no-residual"),
        ),
        Item(
            "learning-rates",
            "The network without residual connections at other learning rates",
            "section 4.6",
            "cells",
            ("xception", "no-residual", *rates),
        ),
        Item(
            "vgg-style",
            "A VGG-like stack of separable convolutions on JFT",
            "section 4.6",
            "absent",
            absent=MULTI_LABEL,
        ),
        Item(
            "figure-10",
            "Training profile with intermediate activations",
            "figure 10, section 4.7",
            "cells",
            ("xception", *activations),
        ),
        Item(
            "order",
            "Which of the two operations comes first",
            "section 1.2",
            "cells",
            ("xception", "pointwise-first"),
        ),
        Item(
            "weight-decay",
            "Inception V3's weight decay on Xception",
            "section 4.3",
            "cells",
            ("xception", "weight-decay-of-inception-v3"),
        ),
        Item(
            "spectrum",
            "From regular to depthwise separable convolution",
            "sections 1.2, 4.7 and 5",
            "cells",
            spectrum,
        ),
    ]
    return {item.name: item for item in found}


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
