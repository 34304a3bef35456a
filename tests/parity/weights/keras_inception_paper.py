"""The first Keras port of Inception V3, which the paper's table 3 counts, built from Keras' layers.

Written from the description of that port: every convolution has a bias and is followed by ReLU and
then by a BatchNorm with gamma and beta; all three pool projections of the 35x35 grid have 32
filters; the double 7x7 branch of the last 17x17 module begins with 160; the last grid reduction
average-pools.
"""

import keras
from keras import layers


def build(size: int, classes: int) -> keras.Model:
    """Builds it with random weights; its output are logits."""

    def conv(x, filters, rows, columns, *, strides=1, padding="same"):
        x = layers.Conv2D(filters, (rows, columns), strides=strides, padding=padding)(x)
        return layers.BatchNormalization()(layers.Activation("relu")(x))

    def chain(x, *steps):
        for step in steps:
            x = conv(x, *step)
        return x

    def pooled(x, filters):
        return conv(layers.AveragePooling2D(3, strides=1, padding="same")(x), filters, 1, 1)

    def reduced(x, *steps):
        x = chain(x, *steps[:-1])
        return conv(x, *steps[-1], strides=2, padding="valid")

    def grid35(x):
        branches = [
            chain(x, (64, 1, 1)),
            chain(x, (48, 1, 1), (64, 5, 5)),
            chain(x, (64, 1, 1), (96, 3, 3), (96, 3, 3)),
            pooled(x, 32),
        ]
        return layers.Concatenate()(branches)

    def grid17(x, mid, first):
        branches = [
            chain(x, (192, 1, 1)),
            chain(x, (mid, 1, 1), (mid, 1, 7), (192, 7, 1)),
            chain(x, (first, 1, 1), (mid, 7, 1), (mid, 1, 7), (mid, 7, 1), (192, 1, 7)),
            pooled(x, 192),
        ]
        return layers.Concatenate()(branches)

    def grid8(x):
        first = chain(x, (320, 1, 1))
        single = chain(x, (384, 1, 1))
        single = layers.Concatenate()([conv(single, 384, 1, 3), conv(single, 384, 3, 1)])
        double = chain(x, (448, 1, 1), (384, 3, 3))
        double = layers.Concatenate()([conv(double, 384, 1, 3), conv(double, 384, 3, 1)])
        return layers.Concatenate()([first, single, double, pooled(x, 192)])

    images = keras.Input((size, size, 3))
    x = conv(images, 32, 3, 3, strides=2, padding="valid")
    x = conv(conv(x, 32, 3, 3, padding="valid"), 64, 3, 3)
    x = layers.MaxPooling2D(3, strides=2)(x)
    x = conv(conv(x, 80, 1, 1, padding="valid"), 192, 3, 3, padding="valid")
    x = layers.MaxPooling2D(3, strides=2)(x)
    for _ in range(3):
        x = grid35(x)
    x = layers.Concatenate()(
        [
            reduced(x, (384, 3, 3)),
            reduced(x, (64, 1, 1), (96, 3, 3), (96, 3, 3)),
            layers.MaxPooling2D(3, strides=2)(x),
        ]
    )
    for mid, first in ((128, 128), (160, 160), (160, 160), (192, 160)):
        x = grid17(x, mid, first)
    x = layers.Concatenate()(
        [
            reduced(x, (192, 1, 1), (320, 3, 3)),
            reduced(x, (192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3)),
            layers.AveragePooling2D(3, strides=2)(x),
        ]
    )
    x = layers.GlobalAveragePooling2D()(grid8(grid8(x)))
    return keras.Model(images, layers.Dense(classes, name="predictions")(x))
