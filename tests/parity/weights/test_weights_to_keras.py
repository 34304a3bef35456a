"""Back to Keras: keras.applications loads what convert writes, and gives the same logits."""

import keras
import pytest
import torch
from weights_references import (
    CLASSES,
    INCEPTION_SIZE,
    XCEPTION_SIZE,
    answer,
    calibrate_torch,
    keras_answer,
    random_images,
    relative_error,
)

from xception.errors import InputError
from xception.models.registry import create_model
from xception.weights.conversion import convert
from xception.weights.files import open_model, save_model


def ours(name, size, **arguments):
    """A model trained here, as far as a converter can tell."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=CLASSES, **arguments)
    calibrate_torch(model, random_images(size, seed=7, count=8))
    return model


def convert_to_keras(model, tmp_path):
    save_model(model, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "b.weights.h5")
    return tmp_path / "b.weights.h5"


@pytest.mark.parametrize(
    ("name", "application", "size", "tolerance"),
    [
        ("xception", keras.applications.Xception, XCEPTION_SIZE, 1e-5),
        # float32 on both sides, and the kernels rounded once more with their gammas: 1.2e-4
        ("inception_v3", keras.applications.InceptionV3, INCEPTION_SIZE, 1e-3),
    ],
)
def test_keras_loads_the_file(name, application, size, tolerance, tmp_path, record_property):
    model = ours(name, size, dropout=0.5)
    path = convert_to_keras(model, tmp_path)
    theirs = application(
        weights=None, input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None
    )
    theirs.load_weights(path)
    images = random_images(size)
    error = relative_error(keras_answer(theirs, images), answer(model, images))
    record_property("relative_error", error)
    assert error <= tolerance
    back = open_model(path).model
    assert relative_error(answer(back, images), answer(model, images)) <= tolerance


def test_keras_loads_the_file_without_top(tmp_path):
    model = ours("xception", XCEPTION_SIZE)
    model.reset_classifier(0)
    path = convert_to_keras(model, tmp_path)
    theirs = keras.applications.Xception(
        weights=None, include_top=False, input_shape=(XCEPTION_SIZE, XCEPTION_SIZE, 3)
    )
    theirs.load_weights(path)
    images = random_images(XCEPTION_SIZE)
    with torch.no_grad():
        expected = model.eval().forward_features(images)
    assert relative_error(keras_answer(theirs, images), expected) <= 1e-5


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("xception", {"numerics": "timm"}, r"numerics='timm' \(Keras: 'keras'\)"),
        ("xception", {"width": 0.125, "fc_units": [16]}, r"fc_units=\[16\].*width=0.125"),
        ("xception", {"width": 0.125, "residual": False}, "residual=False"),
        ("inception_v3", {"width": 0.125, "variant": "paper"}, "variant='paper'"),
    ],
)
def test_inexpressible_models_are_refused_with_the_reason(name, arguments, reason, tmp_path):
    model = create_model(name, num_classes=4, **arguments)
    with pytest.raises(InputError, match=reason):
        convert_to_keras(model, tmp_path)
    assert not (tmp_path / "b.weights.h5").exists()


def test_standard_widths_given_explicitly_are_expressible(tmp_path):
    model = create_model("xception_continuum", segments="depthwise", num_classes=4)
    assert model.arguments["widths"] == [32, 64, 128, 256, 728, 1024, 1536, 2048]
    path = convert_to_keras(model, tmp_path)
    back = open_model(path).model
    assert all(torch.equal(v, back.state_dict()[k]) for k, v in model.state_dict().items())


def test_other_explicit_widths_are_refused(tmp_path):
    model = create_model("xception", num_classes=4, widths=[8, 16, 32, 64, 184, 256, 384, 513])
    with pytest.raises(InputError, match=r"widths=\[8, 16.*513\] \(Keras: None\)"):
        convert_to_keras(model, tmp_path)
