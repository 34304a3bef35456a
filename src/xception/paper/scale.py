"""A scale: the size at which the paper's experiments are run, and what that departs from."""

from dataclasses import dataclass, field


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


MULTI_LABEL_NETWORKS = {
    "multi-label-inception-v3": "Inception V3, no FC layers",
    "multi-label-xception": "Xception, no FC layers",
    "multi-label-inception-v3-fc": "Inception V3 with FC layers",
    "multi-label-xception-fc": "Xception with FC layers",
}
"""Table 2's networks: the variant's name, and the row."""
VGG_STYLE = "vgg-style"
"""The variant of section 4.6's VGG-like stack."""


@dataclass(frozen=True)
class MultiLabelTask:
    """What stands for JFT and FastEval14k at a scale.

    Attributes:
        data: The data set's name in the report.
        k: Of MAP@k.
        variants: Table 2's four networks and section 4.6's VGG-like stack.
        deviations: How its runs differ from the paper's.
    """

    data: str
    k: int
    variants: tuple[Variant, ...]
    deviations: tuple[str, ...]


@dataclass(frozen=True)
class Scale:
    """One size of the experiments.

    Attributes:
        name: On the command line.
        xception: The recipe of Xception.
        inception_v3: The recipe of Inception V3.
        continuum: The recipe of the points between regular and depthwise convolution.
        shared: Keys that every cell sets on top of its recipe.
        of_xception: Keys that every cell of an Xception sets, too.
        of_continuum: Keys that every cell of the continuum sets, too.
        of_inception_v3: Keys that the cell of Inception V3 sets.
        segments: Points of the continuum between regular and depthwise convolution.
        activations: Intermediate activations that the continuum is crossed with.
        comparators: Table 1's other networks: title to the keys that make them of Xception's
            recipe; empty where they are too large.
        learning_rates: Other rates for the network without residual connections.
        other_weight_decay: That of the Inception V3 recipe, tried on Xception.
        cell_seconds: Of one cell of Xception.
        inception_factor: Time of a cell of Inception V3 beside it.
        hardware: On which ``cell_seconds`` was taken.
        seeds: Seeds by default where a claim is decided, and elsewhere.
        data: The data set's name in the report.
        num_classes: Its classes.
        decides: How much this scale can decide, for the report's first page.
        deviations: How its runs differ from the paper's.
        multi_label: The task of table 2, if the scale has one.
        single_label_elsewhere: Why the items of ImageNet's task are absent; empty if they are not.
        multi_label_elsewhere: The same of JFT's task.
        gpus: That a cell keeps busy for ``cell_seconds``; 0 for a CPU.
    """

    name: str
    xception: str
    inception_v3: str
    continuum: str
    shared: dict[str, str]
    of_xception: dict[str, str]
    of_continuum: dict[str, str]
    of_inception_v3: dict[str, str]
    segments: tuple[int, ...]
    activations: tuple[str, ...]
    comparators: dict[str, dict[str, str]]
    learning_rates: tuple[str, ...]
    other_weight_decay: str
    cell_seconds: float
    inception_factor: float
    hardware: str
    seeds: tuple[int, int]
    data: str
    num_classes: int
    decides: str
    deviations: tuple[str, ...]
    multi_label: MultiLabelTask | None = None
    single_label_elsewhere: str = ""
    multi_label_elsewhere: str = ""
    gpus: int = 0
