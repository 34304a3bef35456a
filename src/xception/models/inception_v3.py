"""Inception V3, the paper's comparator, without its auxiliary tower.

Names in the state dict, fixed for good. Every convolution is ``conv.weight`` (and ``conv.bias`` in
the paper variant) and ``norm`` (weight, bias, running_mean, running_var, num_batches_tracked)::

    stem.conv1 ... stem.conv5
    grid35.0 ... grid35.2   .branch1x1.0, .branch5x5.0-1, .branch3x3_double.0-2, .branch_pool.0
    reduction35             .branch3x3.0, .branch3x3_double.0-2
    grid17.0 ... grid17.3   .branch1x1.0, .branch7x7.0-2, .branch7x7_double.0-4, .branch_pool.0
    reduction17             .branch3x3.0-1, .branch7x7.0-3
    grid8.0, grid8.1        .branch1x1.0, .branch3x3.0, .branch3x3_wide, .branch3x3_tall,
                            .branch3x3_double.0-1, .branch3x3_double_wide, .branch3x3_double_tall,
                            .branch_pool.0
    head.fc.0 ...           only with fc_units
    head.classifier

This is also the order in which the layers run and Keras creates them.
"""

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from xception.errors import InputError
from xception.models.head import Head
from xception.models.inception_v3_modules import (
    Grid8,
    Grid17,
    Grid35,
    InceptionConv,
    Reduction17,
    Reduction35,
    Style,
    Variant,
)
from xception.models.layers import Activation, Numerics, initialize
from xception.models.recompute import run_checkpointed
from xception.models.validation import (
    check_choice,
    check_flag,
    check_images,
    check_integer,
    check_integers,
    check_positive,
)


class Stem(nn.Module):
    """Five convolutions and two max pools: 299x299 pixels to 192 maps of 35x35.

    Args:
        in_channels: Channels of the images.
        strides: Of the first two convolutions and the two pools; a pool of stride 1 is left out.
        style: What the network's modules share.
    """

    def __init__(self, in_channels: int, strides: tuple[int, ...], style: Style) -> None:
        super().__init__()
        c32, c64, c80, c192 = (style.scaled(c) for c in (32, 64, 80, 192))
        first, second, *pools = strides
        kernel = (3, 3)
        self.conv1 = InceptionConv(in_channels, c32, kernel, style, stride=first, valid=True)
        self.conv2 = InceptionConv(c32, c32, kernel, style, stride=second, valid=True)
        self.conv3 = InceptionConv(c32, c64, kernel, style)
        self.pool1 = nn.MaxPool2d(3, pools[0]) if pools[0] > 1 else nn.Identity()
        self.conv4 = InceptionConv(c64, c80, (1, 1), style)
        self.conv5 = InceptionConv(c80, c192, kernel, style, valid=True)
        self.pool2 = nn.MaxPool2d(3, pools[1]) if pools[1] > 1 else nn.Identity()
        self.out_channels = c192

    def first_half(self, images: Tensor) -> Tensor:
        """Maps images (N, in_channels, H, W) to 64 maps at half their size."""
        return self.conv3(self.conv2(self.conv1(images)))

    def second_half(self, x: Tensor) -> Tensor:
        """Maps the first half's maps to 192 at half their size, before the last pool."""
        return self.conv5(self.conv4(self.pool1(x)))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, in_channels, H, W) to (N, out_channels, H / 8, W / 8), about."""
        return self.pool2(self.second_half(self.first_half(images)))


class InceptionV3(nn.Module):
    """Inception V3 in two variants.

    "standard" is what Keras, torchvision and timm publish weights for: 23,834,568 trainable
    parameters (Keras fixes the 17,216 BatchNorm scales at 1 and counts 23,817,352). "paper" is the
    first Keras port, which table 3 counts: 23,626,728. Its convolutions have biases, ReLU comes
    before BatchNorm, all three pool projections of the 35x35 grid have 32 channels, the double
    7x7 branch of the last 17x17 module begins with 160, and the last reduction average-pools.

    Args:
        in_channels: Channels of the images.
        num_classes: Logits; 0 leaves the logistic regression out.
        variant: "standard" or "paper".
        fc_units: Units of fully-connected layers before the logistic regression (section 4.5).
        fc_activation: "relu", "elu" or None, after each of them; not stated in the paper.
        dropout: Probability of a zero before the logistic regression (ImageNet: 0.5).
        width: Factor on all channels but the images'; rounded to multiples of 8.
        stem_strides: Strides of the first two convolutions and the two pools; a pool of stride 1
            is left out. (1, 1, 1, 2) suits 32x32 images.
        output_stride: Pixels of the image for one of the last feature map with the standard
            stem: 32, or 16 or 8 by dilation.
        features_only: The output is a list of feature maps, and there is no head.
        numerics: "keras" (average pools leave the padding out, momentum 0.01) or "timm" (they count
            it, momentum 0.1; torchvision's too). eps is 1e-3 in both.

    Attributes:
        arguments: All of the above, resolved, as JSON primitives.
        minimum_input_size: Smallest height and width of an image, pixels.
        feature_channels: Channels of the maps of ``features_only``.
        feature_strides: Their strides, pixels.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> import torch
        >>> small = {"width": 0.125, "stem_strides": (1, 1, 1, 2)}
        >>> model = InceptionV3(num_classes=10, **small).eval()
        >>> model(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """

    architecture: ClassVar[str] = "inception_v3"

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        variant: Variant = "standard",
        fc_units: tuple[int, ...] = (),
        fc_activation: Activation | None = "relu",
        dropout: float = 0.0,
        width: float = 1.0,
        stem_strides: tuple[int, int, int, int] = (2, 1, 2, 2),
        output_stride: Literal[8, 16, 32] = 32,
        features_only: bool = False,
        numerics: Numerics = "keras",
    ) -> None:
        super().__init__()
        self.in_channels = check_integer("in_channels", in_channels)
        self.num_classes = check_integer("num_classes", num_classes, at_least=0)
        self.numerics = check_choice("numerics", numerics, ["keras", "timm"])
        self.features_only = check_flag("features_only", features_only)
        check_choice("variant", variant, ["standard", "paper"])
        check_choice("output_stride", output_stride, [8, 16, 32])
        strides = check_integers("stem_strides", stem_strides, length=4)
        fc = check_integers("fc_units", fc_units)
        self.arguments: dict[str, Any] = {
            "in_channels": self.in_channels,
            "num_classes": self.num_classes,
            "variant": variant,
            "fc_units": list(fc),
            "fc_activation": fc_activation,
            "dropout": float(dropout),
            "width": check_positive("width", width),
            "stem_strides": list(strides),
            "output_stride": output_stride,
            "features_only": features_only,
            "numerics": numerics,
        }
        self.minimum_input_size = _minimum_input_size(strides)

        steps = {32: (2, 2), 16: (2, 1), 8: (1, 1)}[output_stride]  # of the two reductions
        style = Style(variant, numerics, width)
        style17 = Style(variant, numerics, width, 2 // steps[0])
        style8 = Style(variant, numerics, width, 4 // (steps[0] * steps[1]))
        paper = variant == "paper"
        self.stem = Stem(in_channels, strides, style)
        channels = self.stem.out_channels
        grid35: list[Grid35] = []
        for pool in (32, 32, 32) if paper else (32, 64, 64):
            grid35.append(Grid35(channels, pool, style))
            channels = grid35[-1].out_channels
        self.grid35 = nn.Sequential(*grid35)
        self.reduction35 = Reduction35(channels, style, steps[0])
        self.feature_channels = [style.scaled(64), style.scaled(192), channels]
        channels = self.reduction35.out_channels
        grid17: list[Grid17] = []
        for mid, double in ((128, 128), (160, 160), (160, 160), (192, 160 if paper else 192)):
            grid17.append(Grid17(channels, mid, double, style17))
            channels = grid17[-1].out_channels
        self.grid17 = nn.Sequential(*grid17)
        self.reduction17 = Reduction17(channels, style17, steps[1])
        first_grid8 = Grid8(self.reduction17.out_channels, style8)
        second_grid8 = Grid8(first_grid8.out_channels, style8)
        self.grid8 = nn.Sequential(first_grid8, second_grid8)
        self.feature_channels += [channels, second_grid8.out_channels]
        if not features_only:
            self.head = Head(
                self.feature_channels[-1],
                num_classes,
                fc_units=fc,
                fc_activation=fc_activation,
                dropout=dropout,
            )
        self.checkpointing = False
        s1 = strides[0] * strides[1]
        s8 = s1 * strides[2] * strides[3]
        self.feature_strides = [s1, s1 * strides[2], s8, s8 * steps[0], s8 * steps[0] * steps[1]]
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
        """Maps images to the last feature map, (N, 2048, H / 32, W / 32), about."""
        check_images(images, self.in_channels, self.minimum_input_size)
        x = self._run(self.grid35, self.stem(images))
        x = self._run(self.grid17, self.reduction35(x))
        return self._run(self.grid8, self.reduction17(x))

    def forward_intermediates(self, images: Tensor) -> list[Tensor]:
        """Maps images to the maps at strides 2, 4, 8, 16 and 32, each after a ReLU."""
        check_images(images, self.in_channels, self.minimum_input_size)
        half = self.stem.first_half(images)
        quarter = self.stem.second_half(half)
        x35 = self._run(self.grid35, self.stem.pool2(quarter))
        x17 = self._run(self.grid17, self.reduction35(x35))
        return [half, quarter, x35, x17, self._run(self.grid8, self.reduction17(x17))]

    def _run(self, grid: nn.Sequential, x: Tensor) -> Tensor:
        for module in grid:
            x = run_checkpointed(module, x, self.checkpointing)
        return x

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the logistic regression by a fresh one; 0 removes it."""
        if self.features_only:
            raise InputError("a model with features_only=True has no classifier to reset")
        self.head.reset(num_classes, like=self.stem.conv1.conv.weight)
        self.num_classes = self.arguments["num_classes"] = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keeps only the modules' inputs for the backward pass and recomputes what lies between."""
        self.checkpointing = enable

    def depth_levels(self) -> list[tuple[str, ...]]:
        """Returns the modules with parameters, nearest to the image first, for learning rates."""
        names = [f"stem.conv{i}" for i in range(1, 6)]
        names += [f"grid35.{i}" for i in range(3)] + ["reduction35"]
        names += [f"grid17.{i}" for i in range(4)] + ["reduction17", "grid8.0", "grid8.1", "head"]
        return [(name,) for name in names]


def _minimum_input_size(stem_strides: tuple[int, ...]) -> int:
    """Returns the smallest image whose last feature map has a pixel: 75 with the standard stem."""
    size = 1
    for _ in range(2):  # the two reductions, VALID 3x3/2
        size = (size - 1) * 2 + 3
    first, second, pool1, pool2 = stem_strides
    size = (size - 1) * pool2 + 3 if pool2 > 1 else size
    size += 2  # conv5, VALID
    size = (size - 1) * pool1 + 3 if pool1 > 1 else size
    size = (size - 1) * second + 3
    return (size - 1) * first + 3
