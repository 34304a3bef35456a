"""What is read of a Keras model's configuration: its input's size and scale."""

import json
import warnings

import pytest

from xception.data.preprocessing import Preprocessing
from xception.weights.keras_config import KerasConfig, preprocessing_of, read_config


def model(*layers):
    return {"class_name": "Functional", "config": {"layers": list(layers)}}


def layer(class_name, **config):
    return {"class_name": class_name, "config": config}


@pytest.mark.parametrize("key", ["batch_shape", "batch_input_shape"])
def test_read_config_reads_the_read_config_keras_2_and_3(key):
    told = read_config(json.dumps(model(layer("InputLayer", **{key: [None, 160, 160, 3]}))))
    assert told.size == (160, 160)


def test_read_config_takes_the_outermost_input():
    inside = model(layer("InputLayer", batch_shape=[None, 299, 299, 3]))
    outside = model(layer("InputLayer", batch_shape=[None, 150, 150, 3]), inside)
    assert read_config(json.dumps(outside)).size == (150, 150)
    sequential = {"class_name": "Sequential", "config": {"layers": [inside]}}
    sequential["build_config"] = {"input_shape": [None, 96, 96, 3]}
    assert read_config(json.dumps(sequential)).size == (96, 96)


@pytest.mark.parametrize(
    "config",
    [
        None,
        "",
        "no JSON",
        b"\xff",
        "[]",
        "3",
        '{"config": 3}',
        '{"config": {"layers": [3]}}',
        "[" * 9999,
    ],
)
def test_read_config_passes_over_what_it_does_not_know(config):
    assert read_config(config) == KerasConfig()


def test_read_config_leaves_open_what_is_not_fixed():
    assert (
        read_config(json.dumps(model(layer("InputLayer", batch_shape=[None] * 3 + [3])))).size
        is None
    )


@pytest.mark.parametrize(
    ("scale", "offset"), [(1 / 127.5, -1.0), (1 / 255, 0.0), ([1 / 255] * 3, [-0.5, -0.4, -0.3])]
)
def test_rescaling_becomes_mean_and_deviation(scale, offset):
    """x·scale + offset, by hand, for a white, a grey and a black pixel."""
    import torch

    config = model(layer("Rescaling", scale=scale, offset=offset))
    told = preprocessing_of(read_config(json.dumps(config)), 3, "a.keras")
    prepare = Preprocessing.from_dict(told)
    values = torch.tensor([255, 100, 0], dtype=torch.uint8).expand(1, 3, 1, 3)
    found = prepare.normalize(values)[0, :, 0]
    for channel in range(3):
        by = scale[channel] if isinstance(scale, list) else scale
        add = offset[channel] if isinstance(offset, list) else offset
        expected = torch.tensor([x * by + add for x in (255, 100, 0)])
        torch.testing.assert_close(found[channel], expected, rtol=1e-5, atol=1e-6)


def test_preprocessing_of_a_fine_tuned_head_keeps_the_whole_picture():
    tuned = Preprocessing.from_dict(preprocessing_of(KerasConfig((150, 150)), 5, "a"))
    assert (tuned.size, tuned.mode, tuned.antialias) == (150, "squash", False)
    published = Preprocessing.from_dict(preprocessing_of(KerasConfig((299, 299)), 1000, "a"))
    assert published == Preprocessing()
    assert preprocessing_of(KerasConfig(), 0, "a") == published.to_dict()  # without a head


def test_an_input_that_is_no_square_becomes_one_of_as_many_pixels_with_a_warning():
    with pytest.warns(
        UserWarning, match=r"^a\.keras was made for images of 200x300 pixels.* 245x245"
    ):
        told = preprocessing_of(KerasConfig((200, 300)), 5, "a.keras")
    assert told["size"] == 245  # the root of 60,000 is 244.95
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert preprocessing_of(KerasConfig(None), 5, "a.keras")["size"] == 299


@pytest.mark.parametrize(
    ("layers", "sigmoid"),
    [
        ([layer("Dense", activation="sigmoid")], True),
        ([layer("Dense", activation="sigmoid"), layer("Dense", activation="softmax")], False),
        ([layer("Dense", activation="linear"), layer("Activation", activation="sigmoid")], True),
        ([model(layer("Dense", activation="sigmoid")), layer("Dropout", rate=0.5)], True),
        ([layer("Dense", activation=None)], False),
        ([], False),
    ],
)
def test_read_config_tells_whether_the_last_activation_is_a_sigmoid(layers, sigmoid):
    assert read_config(json.dumps(model(*layers))).sigmoid == sigmoid
