"""Section 4.6's network without residuals: a VGG-style stack of separable convolutions.

The paper says only that such a stack, with a depth multiplier of 1, was better than Inception V3 on
JFT at equal parameter count. Deviation: section 4.6 says no more, so that everything else is chosen
here. As VGG-16 it has stages of 2, 2, 3, 3 and 3 convolutions with a 2x2 max pool between them; the
channels double from stage to stage (nearly, at the end); BatchNorm and ReLU follow every
convolution. As Xception and Inception V3 it has a first convolution of stride 2, and global average
pooling before the logistic regression. The channels are such that it has as many parameters as
table 3's Inception V3, 23,626,728, to within 0.1 %.

Names in the state dict: ``stem.conv.weight``, ``stem.norm.*``, then for every separable convolution
``stages.S.I.conv.depthwise.weight``, ``.conv.pointwise.weight`` and ``.norm.*``, and ``head.*``.
"""

from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from xception.errors import InputError
from xception.models.head import Head
from xception.models.layers import (
    Activation,
    ConvBN,
    Numerics,
    SeparableConvBN,
    initialize,
    scaled_channels,
)
from xception.models.recompute import run_checkpointed
from xception.models.validation import (
    check_choice,
    check_flag,
    check_images,
    check_integer,
    check_integers,
    check_positive,
)

_CHANNELS = (160, 320, 640, 1256, 2512)
_CONVOLUTIONS = (2, 2, 3, 3, 3)


class Stage(nn.Sequential):
    """Separable convolutions in a row, each followed by BatchNorm and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C', H, W)."""
        for unit in self:
            x = F.relu(unit(x))
        return x


class SeparableVGG(nn.Module):
    """The VGG-style stack of separable convolutions; see the module's head.

    Args:
        in_channels: Channels of the images.
        num_classes: Logits; 0 leaves the logistic regression out.
        fc_units: Units of fully-connected layers before the logistic regression.
        fc_activation: "relu", "elu" or None, after each of them.
        dropout: Probability of a zero before the logistic regression.
        width: Factor on all channels but the images'; rounded to multiples of 8.
        stem_stride: Stride of the first convolution; 1 suits 32x32 images.
        output_stride: Pixels of the image for one of the last feature map with the standard
            stem: 32, or 16 or 8 by dilation.
        features_only: The output is a list of feature maps, and there is no head.
        numerics: BatchNorm's constants: "keras" (eps 1e-3, momentum 0.01) or "timm" (1e-5, 0.1).

    Attributes:
        arguments: All of the above, resolved, as JSON primitives.
        minimum_input_size: Smallest height and width of an image, pixels.
        feature_channels: Channels of the maps of ``features_only``.
        feature_strides: Their strides, pixels.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> import torch
        >>> model = SeparableVGG(num_classes=10, width=0.1, stem_stride=1).eval()
        >>> model(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """

    architecture: ClassVar[str] = "separable_vgg"

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        fc_units: tuple[int, ...] = (),
        fc_activation: Activation | None = "relu",
        dropout: float = 0.0,
        width: float = 1.0,
        stem_stride: int = 2,
        output_stride: Literal[8, 16, 32] = 32,
        features_only: bool = False,
        numerics: Numerics = "keras",
    ) -> None:
        super().__init__()
        self.in_channels = check_integer("in_channels", in_channels)
        self.num_classes = check_integer("num_classes", num_classes, at_least=0)
        self.numerics = check_choice("numerics", numerics, ["keras", "timm"])
        self.features_only = check_flag("features_only", features_only)
        check_choice("output_stride", output_stride, [8, 16, 32])
        factor = check_positive("width", width)
        fc = check_integers("fc_units", fc_units)
        self.arguments: dict[str, Any] = {
            "in_channels": self.in_channels,
            "num_classes": self.num_classes,
            "fc_units": list(fc),
            "fc_activation": fc_activation,
            "dropout": float(dropout),
            "width": factor,
            "stem_stride": check_integer("stem_stride", stem_stride),
            "output_stride": output_stride,
            "features_only": features_only,
            "numerics": numerics,
        }
        self.minimum_input_size = (16 - 1) * stem_stride + 1  # four poolings leave one of 16 pixels
        channels = [scaled_channels(c, factor) for c in _CHANNELS]
        pools = {32: (2, 2, 2, 2), 16: (2, 2, 2, 1), 8: (2, 2, 1, 1)}[output_stride]
        self.stem = ConvBN(
            in_channels, channels[0], 3, stride=stem_stride, padding=1, numerics=numerics
        )
        self.stages = nn.ModuleList()
        self.pools = nn.ModuleList([nn.Identity()])
        self.feature_channels, self.feature_strides = channels, [stem_stride]
        inputs, dilation = channels[0], 1
        for i, (outputs, count) in enumerate(zip(channels, _CONVOLUTIONS, strict=True)):
            if i > 0:
                stride = pools[i - 1]
                self.pools.append(nn.MaxPool2d(2, stride, dilation=dilation if stride == 1 else 1))
                dilation *= 2 // stride
                self.feature_strides.append(self.feature_strides[-1] * stride)
            units = [
                SeparableConvBN(
                    inputs if j == 0 else outputs, outputs, dilation=dilation, numerics=numerics
                )
                for j in range(count)
            ]
            self.stages.append(Stage(*units))
            inputs = outputs
        if not features_only:
            self.head = Head(
                inputs, num_classes, fc_units=fc, fc_activation=fc_activation, dropout=dropout
            )
        self.checkpointing = False
        initialize(self)

    def forward(self, images: Tensor) -> Any:
        """Maps images to logits.

        Args:
            images: (N, in_channels, H, W) floating point in [-1, 1], H and W at least
                ``minimum_input_size``.

        Returns:
            Logits (N, num_classes); with ``features_only`` the list of five feature maps.

        Raises:
            InputError: The images have another shape or type, or are too small.
        """
        if self.features_only:
            return self.forward_intermediates(images)
        return self.head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Maps images to the last feature map, (N, 2512, H / 32, W / 32)."""
        return self.forward_intermediates(images)[-1]

    def forward_intermediates(self, images: Tensor) -> list[Tensor]:
        """Maps images to the maps at strides 2, 4, 8, 16 and 32, each after a ReLU."""
        check_images(images, self.in_channels, self.minimum_input_size)
        x = F.relu(self.stem(images))
        maps = []
        for pool, stage in zip(self.pools, self.stages, strict=True):
            x = run_checkpointed(stage, pool(x), self.checkpointing)
            maps.append(x)
        return maps

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the logistic regression by a fresh one; 0 removes it."""
        if self.features_only:
            raise InputError("a model with features_only=True has no classifier to reset")
        self.head.reset(num_classes, like=self.stem.conv.weight)
        self.num_classes = self.arguments["num_classes"] = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keeps only the stages' inputs for the backward pass and recomputes what lies between."""
        self.checkpointing = enable

    def depth_levels(self) -> list[tuple[str, ...]]:
        """Returns the modules with parameters, nearest to the image first, for learning rates."""
        names = ["stem"]
        for i, count in enumerate(_CONVOLUTIONS):
            names += [f"stages.{i}.{j}" for j in range(count)]
        return [(name,) for name in [*names, "head"]]
