"""ResNet-50, -101 and -152, rows of table 1, from torchvision.

Names in the state dict are torchvision's own, so that its weights load as they are. Weights are
drawn as torchvision draws them. Deviation: the paper's row comes from other people's
implementation; torchvision's puts the stride on the 3x3 convolution, for example.
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet
from torchvision.ops import stochastic_depth

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


class _StochasticDepth:
    """A forward hook that drops a residual branch, sample by sample, in training."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return stochastic_depth(output, self.probability, "row", module.training)


class ResNet(TorchvisionResNet):
    """A ResNet of bottleneck blocks.

    Args:
        blocks: Blocks in each of the four layers.
        in_channels: Channels of the images.
        num_classes: Logits; 0 leaves the logistic regression out.
        dropout: Probability of a zero before the logistic regression.
        drop_path: Stochastic depth: probability that a sample skips the last residual branch in
            training; it rises linearly from 0 at the first.
        output_stride: Pixels of the image for one of the last feature map: 32, or 16 or 8 by
            dilation.
        features_only: The output is a list of feature maps.

    Raises:
        InputError: An argument is out of range.
    """

    architecture: ClassVar[str] = "resnet"
    numerics: Literal["timm"] = "timm"
    minimum_input_size = 32

    def __init__(
        self,
        blocks: tuple[int, ...],
        *,
        in_channels: int,
        num_classes: int,
        dropout: float,
        drop_path: float,
        output_stride: int,
        features_only: bool,
    ) -> None:
        check_integer("num_classes", num_classes, at_least=0)
        check_choice("output_stride", output_stride, [8, 16, 32])
        dilated = [False, output_stride == 8, output_stride <= 16]
        super().__init__(
            Bottleneck,
            list(blocks),
            num_classes=max(1, num_classes),
            replace_stride_with_dilation=dilated,
        )
        self.in_channels = check_integer("in_channels", in_channels)
        self.num_classes = num_classes
        self.features_only = check_flag("features_only", features_only)
        self.checkpointing = False
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "dropout": check_fraction("dropout", dropout),
            "drop_path": check_fraction("drop_path", drop_path),
            "output_stride": output_stride,
            "features_only": features_only,
        }
        if in_channels != 3:
            self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        if num_classes == 0 or features_only:
            self.fc = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.feature_channels = [64, 256, 512, 1024, 2048]
        self.feature_strides = [2, 4, 8, min(16, output_stride), output_stride]
        modules = [m for m in self.modules() if isinstance(m, Bottleneck)]
        if drop_path:
            for i, module in enumerate(modules):
                rate = drop_path * i / (len(modules) - 1)
                module.bn3.register_forward_hook(_StochasticDepth(rate))

    def forward(self, images: Tensor) -> Any:
        """Maps images (N, in_channels, H, W) in [-1, 1] to logits, or to feature maps."""
        if self.features_only:
            return self.forward_intermediates(images)
        x = torch.flatten(self.avgpool(self.forward_features(images)), 1)
        return self.fc(self.dropout(x))

    def forward_features(self, images: Tensor) -> Tensor:
        """Maps images to the last feature map, (N, 2048, H / 32, W / 32)."""
        return self.forward_intermediates(images)[-1]

    def forward_intermediates(self, images: Tensor) -> list[Tensor]:
        """Maps images to the maps at strides 2, 4, 8, 16 and 32, each after a ReLU."""
        check_images(images, self.in_channels, self.minimum_input_size)
        maps = [self.relu(self.bn1(self.conv1(images)))]
        x = self.maxpool(maps[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x = run_checkpointed(block, x, self.checkpointing)
            maps.append(x)
        return maps

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the logistic regression by a fresh one; 0 removes it."""
        if self.features_only:
            raise InputError("a model with features_only=True has no classifier to reset")
        self.fc = fresh_classifier(2048, num_classes, self.conv1.weight)  # type: ignore[assignment]
        self.num_classes = self.arguments["num_classes"] = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keeps only the blocks' inputs for the backward pass and recomputes what lies between."""
        self.checkpointing = enable

    def depth_levels(self) -> list[tuple[str, ...]]:
        """Returns the modules with parameters, nearest to the image first, for learning rates."""
        levels: list[tuple[str, ...]] = [("conv1", "bn1")]
        for i, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), 1):
            levels += [(f"layer{i}.{j}",) for j in range(len(layer))]
        return [*levels, ("fc",)]


class ResNet50(ResNet):
    """ResNet-50; see ``ResNet`` for the arguments."""

    architecture: ClassVar[str] = "resnet50"

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        output_stride: Literal[8, 16, 32] = 32,
        features_only: bool = False,
    ) -> None:
        super().__init__(
            self._blocks,
            in_channels=in_channels,
            num_classes=num_classes,
            dropout=dropout,
            drop_path=drop_path,
            output_stride=output_stride,
            features_only=features_only,
        )

    _blocks: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)


class ResNet101(ResNet50):
    """ResNet-101; see ``ResNet`` for the arguments."""

    architecture: ClassVar[str] = "resnet101"
    _blocks: ClassVar[tuple[int, ...]] = (3, 4, 23, 3)


class ResNet152(ResNet50):
    """ResNet-152; see ``ResNet`` for the arguments."""

    architecture: ClassVar[str] = "resnet152"
    _blocks: ClassVar[tuple[int, ...]] = (3, 8, 36, 3)
