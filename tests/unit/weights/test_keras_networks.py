"""Which network a Keras file holds, where counts of layers alone would not tell."""

import numpy as np
import pytest

from xception.errors import InputError
from xception.weights.inception_v3_layout import LAYERS
from xception.weights.keras_hdf5 import KerasFile, KerasLayer
from xception.weights.keras_networks import keras_kind


def file_of(*kernels):
    layers = [KerasLayer(None, (np.zeros(shape, np.float32),)) for shape in kernels]
    return KerasFile(layers, "a Keras file")


def test_one_depthwise_convolution_is_no_inception_v3_whatever_the_count():
    convolutions = [(3, 3, 8, 4)] * len(LAYERS)
    assert keras_kind(file_of(*convolutions), "x.h5") == "keras-inception-v3"
    with pytest.raises(InputError, match="1 depthwise convolution, as a MobileNet or an Effic"):
        keras_kind(file_of(*convolutions[1:], (3, 3, 8, 1)), "x.h5")


def test_a_file_that_lacks_some_layers_is_still_the_network_to_be_read():
    """So that the message is of what is missing."""
    whole = [(3, 3, 8, 4)] * len(LAYERS)
    assert keras_kind(file_of(*whole[14:]), "x.h5") == "keras-inception-v3"
    with pytest.raises(InputError, match="another network than those read here"):
        keras_kind(file_of(*whole[15:]), "x.h5")
