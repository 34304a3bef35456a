"""What is trained at a scale: every network with its recipe, whichever items ask for it."""

from typing import Literal

from xception.paper.scale import Scale, Variant

Segments = int | Literal["depthwise"]

# Time of a step beside Xception's, measured on one CPU core at 32x32 pixels.
_RELATIVE_SECONDS = {1: 0.75, 2: 0.8, 4: 1.0, 8: 1.35, 16: 1.4}
_COMPARATOR_SECONDS = 2.0  # by their multiply-adds, not measured


def variants(scale: Scale) -> dict[str, Variant]:
    """Everything that is trained at a scale, by name."""
    found = [] if scale.single_label_elsewhere else _single_label(scale)
    found += scale.multi_label.variants if scale.multi_label else ()
    return {variant.name: variant for variant in found}


def _single_label(scale: Scale) -> list[Variant]:
    """What is trained on the task that stands for ImageNet."""
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
    return found + _continuum(scale)


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
