"""The numbers that the paper states, each with its place: the only copy in this project.

F. Chollet, *Xception: Deep Learning with Depthwise Separable Convolutions*, arXiv:1610.02357v3.
Curves (figures 6 to 10) have no numbers in the paper and therefore none here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedNumber:
    """One number of the paper.

    Attributes:
        place: Table and row, or section.
        subject: What was measured.
        metric: "top1", "top5", "map100", "parameters", "steps_per_second" or another name.
        value: The number; shares are in [0, 1], MAP@100 is in percent as printed.
        unit: What the value counts; empty for shares.
    """

    place: str
    subject: str
    metric: str
    value: float
    unit: str = ""


@dataclass(frozen=True)
class PublishedStatement:
    """Something that the paper says in words.

    Attributes:
        place: The section.
        name: A short name for it.
        text: What it says, in our words.
    """

    place: str
    name: str
    text: str


def _table(
    table: str, metrics: tuple[tuple[str, str], ...], rows: dict[str, tuple[float, ...]]
) -> tuple[PublishedNumber, ...]:
    return tuple(
        PublishedNumber(f"{table}, row {row}", subject, metric, value, unit)
        for row, (subject, values) in enumerate(rows.items(), 1)
        for (metric, unit), value in zip(metrics, values, strict=True)
    )


TABLE_1 = _table(
    "table 1",
    (("top1", ""), ("top5", "")),
    {
        "VGG-16": (0.715, 0.901),
        "ResNet-152": (0.770, 0.933),
        "Inception V3": (0.782, 0.941),
        "Xception": (0.790, 0.945),
    },
)
"""ImageNet validation images, single crop, single model."""

TABLE_2 = _table(
    "table 2",
    (("map100", "%"),),
    {
        "Inception V3, no FC layers": (6.36,),
        "Xception, no FC layers": (6.70,),
        "Inception V3 with FC layers": (6.50,),
        "Xception with FC layers": (6.78,),
    },
)
"""Trained on JFT, FastEval14k's class-weighted MAP@100, single crop, single model."""

TABLE_3 = _table(
    "table 3",
    (("parameters", ""), ("steps_per_second", "steps/s")),
    {"Inception V3": (23_626_728, 31), "Xception": (22_855_952, 28)},
)
"""Size with 1,000 classes, and synchronous ImageNet training on 60 K80 GPUs."""

TEXT = (
    PublishedNumber("section 4.1", "images of JFT", "images", 350e6, "images"),
    PublishedNumber("section 4.1", "classes of JFT", "classes", 17_000, "classes"),
    PublishedNumber("section 4.1", "images of FastEval14k", "images", 14_000, "images"),
    PublishedNumber("section 4.1", "classes of FastEval14k", "classes", 6_000, "classes"),
    PublishedNumber("section 4.1", "labels of a FastEval14k image, mean", "labels", 36.5, "labels"),
    PublishedNumber("section 4.3", "weight decay of Inception V3", "weight_decay", 4e-5),
    PublishedNumber("section 4.3", "weight decay of Xception", "weight_decay", 1e-5),
    PublishedNumber("section 4.4", "GPUs (NVIDIA K80)", "devices", 60, "GPUs"),
    PublishedNumber("section 4.4", "one ImageNet experiment", "days", 3, "days"),
    PublishedNumber("section 4.4", "one JFT experiment, more than", "days", 30, "days"),
    PublishedNumber("section 4.4", "the same until convergence, more than", "days", 90, "days"),
    PublishedNumber(
        "section 4.5.1", "gain of Xception over Inception V3 on JFT", "relative_gain", 0.043
    ),
)
"""Numbers in the running text."""

STATEMENTS = (
    PublishedStatement(
        "section 1.2", "order", "which of the two operations comes first is unimportant"
    ),
    PublishedStatement(
        "section 4.3",
        "weight-decay",
        "Inception V3's weight decay, tuned for it, is far from the best for Xception",
    ),
    PublishedStatement(
        "section 4.5.1",
        "imagenet",
        "Xception is marginally better than Inception V3 on ImageNet (figure 6, table 1)",
    ),
    PublishedStatement(
        "section 4.5.1",
        "jft",
        "its gain on JFT is larger than on ImageNet, with and without fully-connected layers",
    ),
    PublishedStatement(
        "table 2",
        "fully-connected",
        "both networks score higher on JFT with the fully-connected layers than without",
    ),
    PublishedStatement(
        "section 4.5.2",
        "size-and-speed",
        "both networks are of nearly equal size; Xception is slightly slower",
    ),
    PublishedStatement(
        "section 4.6",
        "residual",
        "residual connections are essential to Xception's convergence and final accuracy "
        "(figure 9), though the same optimizer settings may be uncharitable to the network "
        "without them",
    ),
    PublishedStatement(
        "section 4.6",
        "vgg-style",
        "a VGG-like stack of separable convolutions without residual connections beats "
        "Inception V3 on JFT at equal size",
    ),
    PublishedStatement(
        "section 4.7",
        "activation",
        "no activation between depthwise and pointwise convolution converges faster and ends "
        "higher than ReLU or ELU (figure 10)",
    ),
    PublishedStatement(
        "section 4.7",
        "depth-of-features",
        "an intermediate activation may help where spatial convolutions work on deep feature "
        "spaces and harm where on shallow ones",
    ),
    PublishedStatement(
        "section 5",
        "spectrum",
        "nothing says that the depthwise end of the continuum is optimal: points in between "
        "are left to future work",
    ),
)
"""What the paper claims, concedes or leaves open."""


def published(table: tuple[PublishedNumber, ...], subject: str, metric: str) -> PublishedNumber:
    """Finds a number.

    Args:
        table: One of the tables of this module.
        subject: Its row.
        metric: Its column.

    Raises:
        KeyError: The paper has no such number there.

    Example:
        >>> published(TABLE_1, "Xception", "top1").value
        0.79
        >>> published(TABLE_1, "Xception", "top1").place
        'table 1, row 4'
    """
    for number in table:
        if (number.subject, number.metric) == (subject, metric):
            return number
    raise KeyError(f"{subject}, {metric}")


def statement(name: str) -> PublishedStatement:
    """Finds a statement by its short name.

    Raises:
        KeyError: There is none of that name.
    """
    for found in STATEMENTS:
        if found.name == name:
            return found
    raise KeyError(name)
