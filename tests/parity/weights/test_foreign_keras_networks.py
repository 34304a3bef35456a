"""Keras files of networks that are not read here: what the message says of them."""

import keras
import pytest

from xception.errors import InputError
from xception.weights.files import open_model


@pytest.mark.parametrize(
    ("build", "told"),
    [
        # MobileNet: 13 depthwise convolutions with a pointwise one each, one before, one as head.
        (
            lambda: keras.applications.MobileNet(weights=None, classes=3, alpha=0.25),
            r"it has 15 convolutions, 13 depthwise convolutions, 27 BatchNorms, as a MobileNet",
        ),
        (
            lambda: keras.applications.VGG16(weights=None, include_top=False),
            r"it has 13 convolutions, as a VGG has",
        ),
        (
            lambda: keras.applications.ResNet50(
                weights=None, classes=3, input_shape=(32, 32, 3), include_top=False
            ),
            r"it has 53 convolutions, 53 BatchNorms, as a ResNet has",
        ),
        (lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), "1 dense layer;"),
    ],
    ids=["mobilenet", "vgg", "resnet", "dense"],
)
def test_another_network_is_told_to_be_one(build, told, tmp_path):
    build().save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(InputError, match=told) as error:
        open_model(tmp_path / "other.weights.h5")
    assert "Xception (34 separable convolutions, 6 others)" in str(error.value)
