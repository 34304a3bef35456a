"""The paper variant of Inception V3 against its description, written again in Keras layers.

Nothing installable has the first Keras port any more. Its description: every convolution has a
bias and ReLU before its BatchNorm; the three pool projections of the 35x35 grid have 32 filters;
the double 7x7 branch of the last 17x17 module begins with 160; the last reduction average-pools.
"""

import keras
import keras_reference as reference
import pytest
import torch
from keras import layers

from xception.models.inception_v3 import InceptionV3
from xception.models.inception_v3_modules import InceptionConv


def unit(x, filters, height, width, stride=1, padding="same"):
    x = layers.Conv2D(filters, (height, width), strides=stride, padding=padding, activation="relu")(
        x
    )
    return layers.BatchNormalization()(x)


def chain(x, *steps):
    for step in steps:
        x = unit(x, *step)
    return x


def average(x):
    return layers.AveragePooling2D(3, strides=1, padding="same")(x)


def first_keras_port(size, classes):
    image = layers.Input((size, size, 3))
    x = unit(image, 32, 3, 3, 2, "valid")
    x = unit(x, 32, 3, 3, 1, "valid")
    x = unit(x, 64, 3, 3)
    x = layers.MaxPooling2D(3, strides=2)(x)
    x = unit(x, 80, 1, 1, 1, "valid")
    x = unit(x, 192, 3, 3, 1, "valid")
    x = layers.MaxPooling2D(3, strides=2)(x)
    for _ in range(3):
        one = unit(x, 64, 1, 1)
        five = chain(x, (48, 1, 1), (64, 5, 5))
        double = chain(x, (64, 1, 1), (96, 3, 3), (96, 3, 3))
        x = layers.Concatenate()([one, five, double, unit(average(x), 32, 1, 1)])
    three = unit(x, 384, 3, 3, 2, "valid")
    double = unit(chain(x, (64, 1, 1), (96, 3, 3)), 96, 3, 3, 2, "valid")
    x = layers.Concatenate()([three, double, layers.MaxPooling2D(3, strides=2)(x)])
    for c, first in ((128, 128), (160, 160), (160, 160), (192, 160)):
        one = unit(x, 192, 1, 1)
        seven = chain(x, (c, 1, 1), (c, 1, 7), (192, 7, 1))
        double = chain(x, (first, 1, 1), (c, 7, 1), (c, 1, 7), (c, 7, 1), (192, 1, 7))
        x = layers.Concatenate()([one, seven, double, unit(average(x), 192, 1, 1)])
    three = unit(unit(x, 192, 1, 1), 320, 3, 3, 2, "valid")
    seven = chain(x, (192, 1, 1), (192, 1, 7), (192, 7, 1))
    seven = unit(seven, 192, 3, 3, 2, "valid")
    x = layers.Concatenate()([three, seven, layers.AveragePooling2D(3, strides=2)(x)])
    for _ in range(2):
        one = unit(x, 320, 1, 1)
        three = unit(x, 384, 1, 1)
        three = layers.Concatenate()([unit(three, 384, 1, 3), unit(three, 384, 3, 1)])
        double = chain(x, (448, 1, 1), (384, 3, 3))
        double = layers.Concatenate()([unit(double, 384, 1, 3), unit(double, 384, 3, 1)])
        x = layers.Concatenate()([one, three, double, unit(average(x), 192, 1, 1)])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes, name="predictions")(x))


@pytest.mark.parametrize("size", [107, pytest.param(299, marks=pytest.mark.slow)])
def test_paper_variant_equals_its_description_in_keras(size):
    torch.manual_seed(0)
    model = InceptionV3(variant="paper").double()
    images = torch.rand(2, 3, size, size, dtype=torch.float64) * 2 - 1
    reference.calibrate(model, images)
    with reference.keras_precision("float64"):
        theirs = first_keras_port(size, 1000)
    assert sum(v.value.numel() for v in theirs.trainable_weights) == 23_626_728  # table 3
    units = [name for name, m in model.named_modules() if isinstance(m, InceptionConv)]
    pairs = reference.inception_v3_layers(theirs, units)
    assert reference.fill(pairs, model) == 94 * 2 + 94 * 4 + 2
    with torch.no_grad():
        logits, expected = model(images[:1]), reference.run(theirs, images[:1])
    assert reference.relative_error(logits, expected) <= 1e-9
