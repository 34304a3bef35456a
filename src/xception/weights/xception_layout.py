"""Xception's layers in order, with the names that each project gives them.

Keras' blocks 1 to 14 are section 3's modules. Keras names no shortcut: those layers are numbered
automatically, and so the order of this table counts, which is that of Keras' ``model.layers``: a
block's shortcut follows its separable convolutions.
"""

from typing import Literal, NamedTuple


class Layer(NamedTuple):
    """One convolution with its BatchNorm, or the logistic regression.

    Attributes:
        kind: What it is.
        ours: Prefix in our state dict; below it are "conv" and "norm".
        keras: Keras' name (its BatchNorm: with "_bn"), None for shortcuts.
        timm: timm's and Cadene's name.
        timm_norm: The name of its BatchNorm there.
    """

    kind: Literal["conv", "separable"]
    ours: str
    keras: str | None
    timm: str
    timm_norm: str


def _downsampling(ours: str, keras: int, first_repeat: int) -> list[Layer]:
    """The layers of a module with a shortcut; timm counts blocks from the first such one."""
    block = f"block{keras - 1}"
    separables = [
        Layer(
            "separable",
            f"{ours}.separable{i + 1}",
            f"block{keras}_sepconv{i + 1}",
            f"{block}.rep.{first_repeat + 3 * i}",
            f"{block}.rep.{first_repeat + 3 * i + 1}",
        )
        for i in range(2)
    ]
    shortcut = Layer("conv", f"{ours}.shortcut", None, f"{block}.skip", f"{block}.skipbn")
    return [*separables, shortcut]


def _middle(index: int) -> list[Layer]:
    return [
        Layer(
            "separable",
            f"middle_flow.{index}.separable{i + 1}",
            f"block{index + 5}_sepconv{i + 1}",
            f"block{index + 4}.rep.{3 * i + 1}",
            f"block{index + 4}.rep.{3 * i + 2}",
        )
        for i in range(3)
    ]


LAYERS: tuple[Layer, ...] = (
    Layer("conv", "entry_flow.conv1", "block1_conv1", "conv1", "bn1"),
    Layer("conv", "entry_flow.conv2", "block1_conv2", "conv2", "bn2"),
    *_downsampling("entry_flow.module1", 2, 0),  # no leading ReLU, so timm's numbers start at 0
    *_downsampling("entry_flow.module2", 3, 1),
    *_downsampling("entry_flow.module3", 4, 1),
    *(layer for index in range(8) for layer in _middle(index)),
    *_downsampling("exit_flow.module1", 13, 1),
    Layer("separable", "exit_flow.separable1", "block14_sepconv1", "conv3", "bn3"),
    Layer("separable", "exit_flow.separable2", "block14_sepconv2", "conv4", "bn4"),
)
"""All 40, 6 regular and 34 separable, in Keras' order."""

CLASSIFIER = "head.classifier"
