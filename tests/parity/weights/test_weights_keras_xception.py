"""Xception from every file that Keras 1, 2 and 3 write: the same logits as Keras itself."""

import shutil
from dataclasses import replace

import keras
import pytest
import torch
from keras_files import CONTAINERS, dataset_of, edit, replace_dataset, swap, write_container
from weights_references import XCEPTION_SIZE, answer, keras_answer, relative_error

from xception.data.preprocessing import Preprocessing
from xception.errors import InputError
from xception.weights.files import open_model
from xception.weights.verification import verify

TOLERANCE = 1e-5  # float32 against float32, 71x71 pixels; measured 3.4e-6


@pytest.fixture(scope="module")
def files(keras_xception, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras_xception")
    return {name: write_container(keras_xception.model, name, folder) for name in CONTAINERS}


@pytest.fixture
def copy(files, tmp_path):
    """Gives a copy of a file, to be damaged."""

    def copy_of(container):
        return shutil.copy(files[container], tmp_path / files[container].name)

    return copy_of


@pytest.mark.parametrize("container", CONTAINERS)
def test_open_model_gives_keras_logits(container, files, keras_xception, record_property):
    loaded = open_model(files[container])
    error = relative_error(answer(loaded.model, keras_xception.images), keras_xception.logits)
    record_property("relative_error", error)
    assert error <= TOLERANCE
    assert loaded.description.arguments["num_classes"] == 10
    assert loaded.model.numerics == "keras"
    # ten classes are not ImageNet's: somebody's own, from Keras' image folders
    own = Preprocessing(mode="squash", antialias=False)
    told = XCEPTION_SIZE if container.endswith("-model") else 299  # by model.save() alone
    assert loaded.preprocessing == replace(own, size=told)


@pytest.mark.parametrize("container", ["keras1", "keras2", "keras3"])
def test_open_model_without_top_gives_keras_feature_maps(container, keras_xception, tmp_path):
    model = keras.applications.Xception(
        weights=None, include_top=False, input_shape=(XCEPTION_SIZE, XCEPTION_SIZE, 3)
    )
    model.set_weights(keras_xception.model.get_weights()[:-2])
    loaded = open_model(write_container(model, container, tmp_path))
    expected = keras_answer(model, keras_xception.images)
    assert loaded.model.num_classes == 0
    features = loaded.model.eval().forward_features(keras_xception.images).detach()
    assert relative_error(features, expected) <= TOLERANCE


@pytest.mark.parametrize("container", ["keras2-model", "keras3", "keras3-model"])
@pytest.mark.parametrize("frozen", ["nothing", "all", "the first"])
def test_open_model_reads_a_network_within_another_model(
    container, frozen, keras_xception, tmp_path
):
    """As Keras' guide to fine-tuning builds it: the network without its top, and a new one."""
    size = XCEPTION_SIZE
    base = keras.applications.Xception(
        weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3)
    )
    base.set_weights(keras_xception.model.get_weights()[:-2])
    base.trainable = frozen != "all"
    for layer in base.layers[:100] if frozen == "the first" else []:
        layer.trainable = False  # a file lists what is trained first
    images = keras.Input((size, size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    model = keras.Model(images, keras.layers.Dense(4)(base(scaled, training=False)))
    loaded = open_model(write_container(model, container, tmp_path))
    assert loaded.preprocessing.size == (299 if container == "keras3" else size)
    pixels = ((keras_xception.images + 1) * 127.5).round()
    ours = answer(loaded.model, loaded.preprocessing.normalize(pixels.to(torch.uint8)))
    assert relative_error(ours, keras_answer(model, pixels)) <= TOLERANCE


def test_open_model_reads_keras_3_files_without_names(copy, keras_xception):
    def forget_names(file):
        for container in file["layers"].values():
            container["vars"].attrs.pop("name", None)

    path = edit(copy("keras3"), forget_names)
    error = relative_error(
        answer(open_model(path).model, keras_xception.images), keras_xception.logits
    )
    assert error <= TOLERANCE


def test_open_model_reads_other_numbers_of_channels_and_classes(tmp_path):
    model = keras.applications.Xception(weights=None, input_shape=(71, 71, 1), classes=3)
    loaded = open_model(write_container(model, "keras3", tmp_path))
    assert loaded.model.in_channels == 1
    assert loaded.model.num_classes == 3


@pytest.mark.parametrize("container", CONTAINERS)
def test_open_model_recognises_truncated_files(container, files, tmp_path):
    path = tmp_path / files[container].name
    path.write_bytes(files[container].read_bytes()[:-100_000])
    with pytest.raises(InputError, match="truncated"):
        open_model(path)


@pytest.mark.parametrize("container", ["keras2", "keras3"])
def test_open_model_refuses_a_missing_tensor(container, copy):
    path = edit(copy(container), lambda f: f.pop(dataset_of(f, "block7_sepconv2_bn", 0)))
    with pytest.raises(InputError, match=r"lacks .*block7_sepconv2_bn|39 norm layers"):
        open_model(path)


def test_open_model_refuses_a_missing_layer(copy):
    def drop(file):
        names = [str(name) for name in file.attrs["layer_names"]]
        names.remove("convolution2d_3")
        file.attrs["layer_names"] = names

    with pytest.raises(InputError, match="5 conv layers instead of 6"):
        open_model(edit(copy("keras1"), drop))


@pytest.mark.parametrize("container", ["keras2", "keras3"])
def test_open_model_lists_transposed_shapes(container, copy):
    def transpose(file):
        name = dataset_of(file, "block1_conv2", 0)
        replace_dataset(file, name, file[name][()].transpose(0, 1, 3, 2))

    with pytest.raises(InputError, match=r"1 misshapen: entry_flow.conv2.conv.weight \(32x64x3x3"):
        open_model(edit(copy(container), transpose))


def test_open_model_refuses_a_foreign_layer(copy):
    def add(file):
        name = dataset_of(file, "predictions", 0)
        replace_dataset(file, name, file[name][()][None])

    with pytest.raises(InputError, match="'predictions' with arrays 1x2048x10, 10"):
        open_model(edit(copy("keras3"), add))


@pytest.mark.parametrize("container", ["keras2", "keras3"])
def test_logits_and_verify_show_swapped_layers(container, files, copy, keras_xception):
    """Both have one shape, so nothing but the activations can tell."""

    def exchange(file):
        for index in (0, 1):
            names = (dataset_of(file, f"block{b}_sepconv2", index) for b in (6, 9))
            swap(file, *names)

    path = edit(copy(container), exchange)
    logits = answer(open_model(path).model, keras_xception.images)
    assert relative_error(logits, keras_xception.logits) > 1e-2
    found = verify(files[container], path, size=XCEPTION_SIZE)
    assert not found.same(1e-4)
    first = found.activations.first_difference()
    assert first.name == "middle_flow.1.separable2.conv.depthwise"
    assert {d.name for d in found.tensors.differing()} == {
        f"middle_flow.{m}.separable2.conv.{part}.weight"
        for m in (1, 4)
        for part in ("depthwise", "pointwise")
    }


def test_logits_show_a_transposed_square_kernel(copy, keras_xception):
    def transpose(file):
        name = dataset_of(file, "block6_sepconv2", 1)
        file[name][...] = file[name][()].transpose(0, 1, 3, 2)

    logits = answer(open_model(edit(copy("keras3"), transpose)).model, keras_xception.images)
    assert relative_error(logits, keras_xception.logits) > 1e-2


@pytest.mark.parametrize("container", ["keras2-model", "keras3-model"])
def test_open_model_reads_one_sigmoid_unit_as_two_classes(container, keras_xception, tmp_path):
    """Keras' tutorials tell two classes apart with Dense(1): its sigmoid is the second class."""
    size = XCEPTION_SIZE
    base = keras.applications.Xception(
        weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3)
    )
    base.set_weights(keras_xception.model.get_weights()[:-2])
    unit = keras.layers.Dense(1, activation="sigmoid", bias_initializer="ones")
    images = keras.Input((size, size, 3))
    model = keras.Model(images, unit(base(images, training=False)))
    loaded = open_model(write_container(model, container, tmp_path))
    assert loaded.model.num_classes == 2
    assert not loaded.description.multi_label
    assert "read as two classes" in loaded.description.provenance["container"]
    expected = keras_answer(model, keras_xception.images)[:, 0]
    found = answer(loaded.model, keras_xception.images).softmax(1)
    assert (found[:, 1] - expected).abs().max() <= TOLERANCE
    assert (found[:, 0] - (1 - expected)).abs().max() <= TOLERANCE


@pytest.mark.parametrize("container", ["keras2-model", "keras3-model"])
def test_open_model_reads_several_sigmoid_units_as_several_labels(
    container, keras_xception, tmp_path
):
    size = XCEPTION_SIZE
    base = keras.applications.Xception(
        weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3)
    )
    base.set_weights(keras_xception.model.get_weights()[:-2])
    outputs = keras.layers.Dense(3, activation="sigmoid")(base.output)
    model = keras.Model(base.input, outputs)
    loaded = open_model(write_container(model, container, tmp_path))
    assert loaded.description.multi_label  # else its probabilities would be a softmax
    found = answer(loaded.model, keras_xception.images).sigmoid()
    assert (found - keras_answer(model, keras_xception.images)).abs().max() <= TOLERANCE
