"""Figure 5: the Xception architecture, top to bottom. Entry flow, middle flow, exit flow, head.

Names in the state dict, fixed for good (``NORM`` is weight, bias, running_mean, running_var and
num_batches_tracked; every separable convolution has ``conv.depthwise.weight``,
``conv.pointwise.weight`` and ``norm.NORM``)::

    entry_flow.conv1.conv.weight, entry_flow.conv1.norm.NORM         3x3/2, 32
    entry_flow.conv2.conv.weight, entry_flow.conv2.norm.NORM         3x3, 64
    entry_flow.module1.separable1, .separable2                       128
    entry_flow.module1.shortcut.conv.weight, .shortcut.norm.NORM     1x1/2, 128
    entry_flow.module2, entry_flow.module3                           the same, 256 and 728
    middle_flow.0 ... middle_flow.7  .separable1, .separable2, .separable3
    exit_flow.module1.separable1, .separable2, .shortcut             728, 1024
    exit_flow.separable1, exit_flow.separable2                       1536, 2048
    head.fc.0.weight, head.fc.0.bias, ...                            only with fc_units
    head.classifier.weight, head.classifier.bias

In Keras' naming, block 1 is conv1 and conv2, blocks 2-4 are entry_flow.module1-3, blocks 5-12 are
middle_flow.0-7, block 13 is exit_flow.module1 and block 14 exit_flow.separable1-2.
"""

from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from xception.errors import InputError
from xception.models.head import Head
from xception.models.layers import Activation, Numerics, Order, initialize, scaled_channels
from xception.models.validation import (
    check_choice,
    check_flag,
    check_fraction,
    check_images,
    check_integer,
    check_integers,
    check_positive,
    check_segments,
)
from xception.models.xception_flows import EntryFlow, ExitFlow, MiddleFlow, MiddleModule, Widths


class Xception(nn.Module):
    """The network of figure 5; every ablation and variant of the paper is an argument.

    With all defaults it has 22,855,952 trainable parameters, and the function of
    ``keras.applications.Xception`` before its softmax.

    Args:
        in_channels: Channels of the images.
        num_classes: Logits; 0 leaves the logistic regression out.
        residual: Whether the modules have shortcuts (section 4.6: False).
        intermediate_activation: None, "relu" or "elu" between depthwise and pointwise convolution
            (section 4.7).
        fc_units: Units of fully-connected layers before the logistic regression (section 4.5:
            ``(4096, 4096)``).
        fc_activation: "relu", "elu" or None, after each of them; not stated in the paper.
        dropout: Probability of a zero before the logistic regression (ImageNet: 0.5).
        width: Factor on all channels but the images'; rounded to multiples of 8.
        widths: Eight explicit channel numbers instead, the fields of ``Widths`` in order.
        middle_flow_repeats: Modules of the middle flow.
        stem_strides: Strides of the first two convolutions; (1, 1) suits 32x32 images.
        segments: "depthwise", or the number of segments of all spatial convolutions (section 1.2).
            It must divide the widths; ``xception_continuum`` chooses widths for any number.
        order: "depthwise-first" or "pointwise-first" (section 2).
        drop_path: Stochastic depth: probability that a sample skips the last residual branch in
            training; it rises linearly from 0 at the first. Deviation: not in the paper.
        output_stride: Pixels of the image for one of the last feature map: 32, or 16 or 8 by
            dilation (times a half for stem_strides (1, 1)).
        features_only: The output is a list of feature maps, and there is no head.
        fused: Whether convolutions run in the fused GPU kernels: True, False, or "auto" (on CUDA,
            with channels_last images, where the layers allow it; else plain layers, and one log
            line says why). The same weights, the same function; it is no part of ``arguments``.
            Off by default until it has been measured on a GPU.
        numerics: "keras" (TF-SAME pooling, eps 1e-3, momentum 0.01) or "timm" (pooling padded by 1,
            eps 1e-5, momentum 0.1).

    Attributes:
        arguments: All of the above, resolved, as JSON primitives.
        minimum_input_size: Smallest height and width of an image, pixels.
        feature_channels: Channels of the maps of ``features_only``.
        feature_strides: Their strides, pixels.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> import torch
        >>> model = Xception(num_classes=10, width=0.25, stem_strides=(1, 1)).eval()
        >>> model(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """

    architecture: ClassVar[str] = "xception"

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        residual: bool = True,
        intermediate_activation: Activation | None = None,
        fc_units: tuple[int, ...] = (),
        fc_activation: Activation | None = "relu",
        dropout: float = 0.0,
        width: float = 1.0,
        widths: tuple[int, ...] | None = None,
        middle_flow_repeats: int = 8,
        stem_strides: tuple[int, int] = (2, 1),
        segments: int | Literal["depthwise"] = "depthwise",
        order: Order = "depthwise-first",
        drop_path: float = 0.0,
        output_stride: Literal[8, 16, 32] = 32,
        features_only: bool = False,
        fused: bool | Literal["auto"] = False,
        numerics: Numerics = "keras",
    ) -> None:
        super().__init__()
        self.in_channels = check_integer("in_channels", in_channels)
        self.num_classes = check_integer("num_classes", num_classes, at_least=0)
        self.numerics = check_choice("numerics", numerics, ["keras", "timm"])
        self.features_only = check_flag("features_only", features_only)
        self.fused = check_choice("fused", fused, [True, False, "auto"])
        check_flag("residual", residual)
        check_choice("order", order, ["depthwise-first", "pointwise-first"])
        check_choice("output_stride", output_stride, [8, 16, 32])
        repeats = check_integer("middle_flow_repeats", middle_flow_repeats, at_least=0)
        strides = check_integers("stem_strides", stem_strides, length=2)
        fc = check_integers("fc_units", fc_units)
        channels = resolve_widths(width, widths)
        remedy = "; create_model('xception_continuum', segments=...) chooses widths that divide"
        check_segments(segments, channels.segmented(order), remedy)
        if check_fraction("drop_path", drop_path) and not residual:
            raise InputError(f"drop_path={drop_path} needs residual connections: set residual=True")

        self.arguments: dict[str, Any] = {
            "in_channels": self.in_channels,
            "num_classes": self.num_classes,
            "residual": residual,
            "intermediate_activation": intermediate_activation,
            "fc_units": list(fc),
            "fc_activation": fc_activation,
            "dropout": float(dropout),
            "width": float(width),
            "widths": None if widths is None else list(channels),
            "middle_flow_repeats": repeats,
            "stem_strides": list(strides),
            "segments": segments,
            "order": order,
            "drop_path": float(drop_path),
            "output_stride": output_stride,
            "features_only": features_only,
            "numerics": numerics,
        }
        self.minimum_input_size = _minimum_input_size(strides)
        pools = {32: (2, 2), 16: (2, 1), 8: (1, 1)}[output_stride]  # of entry 3 and exit 1
        stem = strides[0] * strides[1]
        self.feature_channels = [channels.conv2, channels.entry1, channels.entry2]
        self.feature_channels += [channels.middle, channels.separable2]
        self.feature_strides = [stem, stem * 2, stem * 4, stem * 4 * pools[0]]
        self.feature_strides.append(self.feature_strides[-1] * pools[1])

        dilations = (1, 2 // pools[0], 4 // (pools[0] * pools[1]))  # entry, middle, exit flow
        entry, middle, exit_ = (
            {
                "dilation": dilation,
                "segments": segments,
                "order": order,
                "intermediate_activation": intermediate_activation,
                "numerics": numerics,
            }
            for dilation in dilations
        )
        paths = [drop_path * i / (repeats + 3) for i in range(repeats + 4)]
        self.entry_flow = EntryFlow(
            in_channels,
            channels,
            stem_strides=(strides[0], strides[1]),
            residual=residual,
            last_stride=pools[0],
            drop_paths=paths[:3],
            separable=entry,
        )
        self.middle_flow = MiddleFlow(
            *(
                MiddleModule(channels.middle, residual=residual, drop_path=path, separable=middle)
                for path in paths[3:-1]
            )
        )
        self.exit_flow = ExitFlow(
            channels,
            residual=residual,
            stride=pools[1],
            drop_path=paths[-1],
            separable=middle,
            last_separable=exit_,
        )
        if not features_only:
            self.head = Head(
                channels.separable2,
                num_classes,
                fc_units=fc,
                fc_activation=fc_activation,
                dropout=dropout,
            )
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
        check_images(images, self.in_channels, self.minimum_input_size)
        if self.features_only:
            return self.forward_intermediates(images)
        fused = self._fused_features(images)
        if fused is not None:
            return self.head(fused)
        return self.head(self.exit_flow(self.middle_flow(self.entry_flow(images))))

    def _fused_features(self, images: Tensor) -> Tensor | None:
        if not self.fused:
            return None
        from xception.kernels.flow import fused_features
        from xception.kernels.support import takes_fused_path

        return fused_features(self, images) if takes_fused_path(self, images, self.fused) else None

    def forward_features(self, images: Tensor) -> Tensor:
        """Maps images to the last feature map, (N, 2048, H / 32, W / 32)."""
        check_images(images, self.in_channels, self.minimum_input_size)
        fused = self._fused_features(images)
        if fused is not None:
            return fused
        return self.exit_flow(self.middle_flow(self.entry_flow(images)))

    def forward_intermediates(self, images: Tensor) -> list[Tensor]:
        """Maps images to the maps at strides 2, 4, 8, 16 and 32, each after a ReLU."""
        x = self.entry_flow.stem(images)
        maps = [x]
        for module in (self.entry_flow.module1, self.entry_flow.module2):
            x = module(x)
            maps.append(F.relu(x))
        x = self.middle_flow(self.entry_flow.module3(x))
        maps.append(F.relu(x))
        return [*maps, self.exit_flow(x)]

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the logistic regression by a fresh one; 0 removes it."""
        if self.features_only:
            raise InputError("a model with features_only=True has no classifier to reset")
        self.head.reset(num_classes, like=self.entry_flow.conv1.conv.weight)
        self.num_classes = self.arguments["num_classes"] = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keeps only the modules' inputs for the backward pass and recomputes what lies between."""
        for flow in (self.entry_flow, self.middle_flow, self.exit_flow):
            flow.checkpointing = enable

    def depth_levels(self) -> list[tuple[str, ...]]:
        """Returns the modules with parameters, nearest to the image first, for learning rates."""
        entry = ["conv1", "conv2", "module1", "module2", "module3"]
        names = [f"entry_flow.{name}" for name in entry]
        names += [f"middle_flow.{i}" for i in range(len(self.middle_flow))]
        names += [f"exit_flow.{name}" for name in ("module1", "separable1", "separable2")]
        return [(name,) for name in [*names, "head"]]


def resolve_widths(width: float, widths: tuple[int, ...] | None) -> Widths:
    """Returns the channels of every stage for a factor, or the explicit ones.

    Example:
        >>> resolve_widths(0.25, None)[:5]
        (8, 16, 32, 64, 184)
    """
    factor = check_positive("width", width)
    if widths is not None:
        return Widths(*check_integers("widths", widths, length=len(Widths._fields)))
    return Widths(*(scaled_channels(channels, factor) for channels in Widths()))


def _minimum_input_size(stem_strides: tuple[int, ...]) -> int:
    """Returns the smallest image, pixels: 71 with the standard strides, as in Keras.

    It is the one whose last feature map is 3x3, the size of the kernels that read it. A stem
    without strides is made for small images: there 2x2 must do (21 pixels).
    """
    last_map = 3 if stem_strides[0] * stem_strides[1] > 1 else 2
    size = (last_map - 1) * 16 + 1  # before the four poolings, which round up
    for stride in reversed(stem_strides):
        size = (size - 1) * stride + 3  # VALID 3x3
    return size
