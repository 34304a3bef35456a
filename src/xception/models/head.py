"""The head of figure 5: global average pooling, optional dense layers, logistic regression."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from xception.models.layers import activation_layer
from xception.models.validation import check_choice, check_fraction, check_integer, check_integers


class Head(nn.Module):
    """Feature maps to logits.

    Section 4.5 puts two fully-connected layers of 4,096 units before the logistic regression in the
    JFT experiments, and section 4.4 a dropout layer of rate 0.5 in the ImageNet ones.

    Deviation: the paper does not say which activation the fully-connected layers have, nor whether
    dropout follows each of them; here it is ReLU by default, and one dropout before the logistic
    regression, as in figure 5's caption for ImageNet.

    Args:
        in_channels: Channels of the feature maps.
        num_classes: Logits; 0 leaves the logistic regression out: the output is what it reads.
        fc_units: Units of each fully-connected layer.
        fc_activation: "relu", "elu", or None for no activation.
        dropout: Probability of a zero before the logistic regression.

    Raises:
        InputError: An argument is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        fc_units: tuple[int, ...] = (),
        fc_activation: Literal["relu", "elu"] | None = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("fc_activation", fc_activation, [None, "relu", "elu"])
        widths = [in_channels, *check_integers("fc_units", fc_units)]
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths))
        self.activation = activation_layer(fc_activation)
        self.dropout = nn.Dropout(check_fraction("dropout", dropout))
        self.num_features = widths[-1]
        self.classifier = _classifier(self.num_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Maps feature maps (N, in_channels, H, W) to logits (N, num_classes)."""
        x = self.pool(features).flatten(1)  # (N, in_channels)
        for layer in self.fc:
            x = self.activation(layer(x))
        return self.classifier(self.dropout(x))

    def reset(self, num_classes: int, like: Tensor) -> None:
        """Replaces the logistic regression by a fresh one with the device and type of ``like``."""
        self.classifier = fresh_classifier(self.num_features, num_classes, like)
        self.classifier.train(self.training)


def fresh_classifier(num_features: int, num_classes: int, like: Tensor) -> nn.Module:
    """Returns a logistic regression with Glorot uniform weights, or the identity for no classes.

    Args:
        num_features: Inputs.
        num_classes: Outputs; 0 gives the identity.
        like: A tensor that has the device and type to use.
    """
    layer = _classifier(num_features, num_classes)
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layer.to(like.device, like.dtype)


def _classifier(num_features: int, num_classes: int) -> nn.Module:
    if check_integer("num_classes", num_classes, at_least=0) == 0:
        return nn.Identity()
    return nn.Linear(num_features, num_classes)
