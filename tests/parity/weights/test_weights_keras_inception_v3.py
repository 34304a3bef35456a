"""Inception V3 from every file that Keras 1, 2 and 3 write: the same logits as Keras itself."""

import shutil

import keras
import pytest
from keras_files import CONTAINERS, edit, swap, write_container
from keras_inception_paper import build as build_paper
from weights_references import (
    CLASSES,
    INCEPTION_SIZE,
    answer,
    float64_reference,
    keras_answer,
    relative_error,
)

from xception.errors import InputError
from xception.weights.files import open_model
from xception.weights.inception_v3_layout import KERAS_ORDER
from xception.weights.keras_hdf5 import numbered

TOLERANCE = 1e-9  # both sides in float64; measured 4e-13 and less


@pytest.fixture(scope="module")
def files(keras_inception_v3, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras_inception_v3")
    model = keras_inception_v3.model
    return {name: write_container(model, name, folder) for name in CONTAINERS}


def error_of(loaded, reference):
    logits = answer(loaded.model.double(), reference.images.double())
    return relative_error(logits, reference.logits)


@pytest.mark.parametrize("container", CONTAINERS)
def test_open_model_gives_keras_logits(container, files, keras_inception_v3, record_property):
    loaded = open_model(files[container])
    in_float32 = answer(loaded.model, keras_inception_v3.images).double()
    record_property("float32_error", relative_error(in_float32, keras_inception_v3.logits))
    error = error_of(loaded, keras_inception_v3)
    record_property("relative_error", error)
    assert error <= TOLERANCE
    assert loaded.description.architecture == "inception_v3"
    assert loaded.description.arguments["variant"] == "standard"


def test_keras_order_is_that_of_the_installed_keras(keras_inception_v3):
    convolutions = [
        numbered(layer.name)[1]
        for layer in keras_inception_v3.model.layers
        if isinstance(layer, keras.layers.Conv2D)
    ]
    assert tuple(n - min(convolutions) for n in convolutions) == KERAS_ORDER


def test_open_model_reads_keras_3_files_without_names(files, keras_inception_v3, tmp_path):
    def forget_names(file):
        for container in file["layers"].values():
            container["vars"].attrs.pop("name", None)

    path = edit(shutil.copy(files["keras3"], tmp_path / "a.weights.h5"), forget_names)
    assert error_of(open_model(path), keras_inception_v3) <= TOLERANCE


def test_open_model_without_top_gives_keras_feature_maps(keras_inception_v3, tmp_path):
    size = INCEPTION_SIZE
    model = keras.applications.InceptionV3(
        weights=None, include_top=False, input_shape=(size, size, 3)
    )
    model.set_weights(keras_inception_v3.model.get_weights()[:-2])
    loaded = open_model(write_container(model, "keras2", tmp_path))
    features = loaded.model.forward_features(keras_inception_v3.images).detach()
    expected = keras_answer(model, keras_inception_v3.images)
    assert loaded.model.num_classes == 0
    assert relative_error(features, expected) <= 2e-4  # float32 on both sides


def test_open_model_reads_the_papers_variant(tmp_path, record_property):
    keras.utils.set_random_seed(0)
    reference = float64_reference(lambda: build_paper(INCEPTION_SIZE, CLASSES), INCEPTION_SIZE)
    loaded = open_model(write_container(reference.model, "keras1", tmp_path))
    assert loaded.description.arguments["variant"] == "paper"
    error = error_of(loaded, reference)
    record_property("relative_error", error)
    assert error <= TOLERANCE
    trained = sum(p.numel() for p in loaded.model.parameters())
    assert trained == reference.model.count_params() - 2 * sum(
        norm.beta.shape[0]
        for norm in reference.model.layers
        if isinstance(norm, keras.layers.BatchNormalization)
    )


def test_forcing_the_papers_variant_on_standard_weights_is_an_error(files):
    with pytest.raises(InputError, match=r"94 conv layers that it has not"):
        open_model(files["keras2"], kind="keras-inception-v3-paper")


def test_open_model_recognises_truncated_files(files, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(files["keras1"].read_bytes()[: 1 << 20])
    with pytest.raises(InputError, match="truncated"):
        open_model(path)


def test_logits_show_swapped_layers(files, keras_inception_v3, tmp_path):
    path = shutil.copy(files["keras1"], tmp_path / "a.h5")
    edit(
        path,
        lambda file: swap(
            file,
            "convolution2d_43/convolution2d_43_W",  # two 1x7 kernels of the second 17x17 module
            "convolution2d_53/convolution2d_53_W",  # and of the third
        ),
    )
    assert error_of(open_model(path), keras_inception_v3) > 1e-2
