"""VGG-16, a row of table 1, from torchvision.

Names in the state dict are torchvision's own, so that its weights load as they are. Weights are
drawn as torchvision draws them.
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torchvision.models.vgg import VGG, cfgs, make_layers

from xception.errors import InputError
from xception.models.head import fresh_classifier
from xception.models.recompute import run_checkpointed
from xception.models.validation import (
    check_choice,
    check_flag,
    check_fraction,
    check_images,
    check_integer,
)


class VGG16(VGG):
    """VGG-16, without BatchNorm.

    Args:
        in_channels: Channels of the images.
        num_classes: Logits; 0 leaves the logistic regression out.
        dropout: Probability of a zero after each of the two dense layers of 4,096 units.
        output_stride: Pixels of the image for one of the last feature map: 32, or 16 or 8 by
            dilation.
        features_only: The output is a list of feature maps, after each pool.

    Raises:
        InputError: An argument is out of range.
    """

    architecture: ClassVar[str] = "vgg16"
    numerics: Literal["timm"] = "timm"
    minimum_input_size = 32

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        dropout: float = 0.5,
        output_stride: Literal[8, 16, 32] = 32,
        features_only: bool = False,
    ) -> None:
        check_choice("output_stride", output_stride, [8, 16, 32])
        layers = make_layers(cfgs["D"])
        check_integer("in_channels", in_channels)
        layers[0] = nn.Conv2d(in_channels, 64, 3, padding=1)
        super().__init__(
            layers,
            num_classes=max(1, check_integer("num_classes", num_classes, at_least=0)),
            dropout=check_fraction("dropout", dropout),
        )
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.features_only = check_flag("features_only", features_only)
        self.checkpointing = False
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "dropout": float(dropout),
            "output_stride": output_stride,
            "features_only": features_only,
        }
        if features_only:
            self.classifier = nn.Sequential()
        elif num_classes == 0:
            self.classifier[6] = nn.Identity()
        self._pools = [i for i, m in enumerate(self.features) if isinstance(m, nn.MaxPool2d)]
        self.feature_channels = [64, 128, 256, 512, 512]
        self.feature_strides = [min(stride, output_stride) for stride in (2, 4, 8, 16, 32)]
        _dilate(self.features, self._pools[{32: 5, 16: 4, 8: 3}[output_stride] :])

    def forward(self, images: Tensor) -> Any:
        """Maps images (N, in_channels, H, W) in [-1, 1] to logits, or to feature maps."""
        if self.features_only:
            return self.forward_intermediates(images)
        return self.classifier(torch.flatten(self.avgpool(self.forward_features(images)), 1))

    def forward_features(self, images: Tensor) -> Tensor:
        """Maps images to the last feature map, (N, 512, H / 32, W / 32)."""
        return self.forward_intermediates(images)[-1]

    def forward_intermediates(self, images: Tensor) -> list[Tensor]:
        """Maps images to the maps at strides 2, 4, 8, 16 and 32, after the pools."""
        check_images(images, self.in_channels, self.minimum_input_size)
        x, start, maps = images, 0, []
        for end in self._pools:
            x = run_checkpointed(self.features[start : end + 1], x, self.checkpointing)
            maps.append(x)
            start = end + 1
        return maps

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the logistic regression by a fresh one; 0 removes it."""
        if self.features_only:
            raise InputError("a model with features_only=True has no classifier to reset")
        self.classifier[6] = fresh_classifier(4096, num_classes, next(self.parameters()))
        self.num_classes = self.arguments["num_classes"] = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keeps only the stages' inputs for the backward pass and recomputes what lies between."""
        self.checkpointing = enable

    def depth_levels(self) -> list[tuple[str, ...]]:
        """Returns the modules with parameters, nearest to the image first, for learning rates."""
        convolutions = [i for i, m in enumerate(self.features) if isinstance(m, nn.Conv2d)]
        return [*((f"features.{i}",) for i in convolutions), ("classifier",)]


def _dilate(features: nn.Sequential, pools: list[int]) -> None:
    """Gives the named pools stride 1, and doubles the dilation of all that follows each."""
    dilation = 1
    for i, module in enumerate(features):
        if isinstance(module, nn.Conv2d) and dilation > 1:
            module.dilation = module.padding = (dilation, dilation)
        if i in pools:
            features[i] = nn.MaxPool2d(2, 1, dilation=dilation)
            dilation *= 2
