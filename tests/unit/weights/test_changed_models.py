"""A model from a file with another head, other arguments, and back into a file."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch.optim.swa_utils import AveragedModel

import xception
from xception.data.preprocessing import Preprocessing
from xception.errors import InputError
from xception.weights.files import load_model, open_model, save_model


@pytest.fixture
def stored(make_model, tmp_path):
    """A model with random statistics, and its file."""
    model = make_model(1)
    path = tmp_path / "a.safetensors"
    save_model(model, path, class_names=["a", "b", "c"], preprocessing=Preprocessing(size=40))
    return model.eval(), path


def test_a_new_head_is_random_and_the_rest_is_the_files(stored, images):
    model, path = stored
    torch.manual_seed(0)
    loaded = open_model(path, num_classes=7)
    assert not loaded.model.training
    assert loaded.class_names is None
    assert loaded.description.num_classes == 7
    assert loaded.preprocessing.size == 40
    with torch.no_grad():
        assert loaded.model(images).shape == (len(images), 7)
        features = loaded.model.forward_features(images)
        assert torch.equal(features, model.forward_features(images))
    again = open_model(path, num_classes=7)  # of an ensemble, no two heads are the same
    assert not torch.equal(again.model.head.classifier.weight, loaded.model.head.classifier.weight)


def test_as_many_classes_as_the_file_has_are_a_new_head_too(stored):
    model, path = stored
    found = load_model(path, num_classes=3).head.classifier.weight
    assert not torch.equal(found, model.head.classifier.weight)


def test_other_arguments_keep_the_head_and_the_function(stored, images):
    model, path = stored
    loaded = open_model(path, dropout=0.25, drop_path=0.1)
    assert loaded.class_names == ["a", "b", "c"]
    assert (loaded.model.head.dropout.p, loaded.description.arguments["dropout"]) == (0.25, 0.25)
    with torch.no_grad():
        assert torch.equal(loaded.model(images), model(images))


def test_features_come_pooled_and_as_maps_at_every_stride(stored, images):
    model, path = stored
    with torch.no_grad():
        last = model.forward_features(images)
        assert torch.equal(load_model(path, num_classes=0)(images), last.mean((2, 3)))
        maps = load_model(path, features_only=True)(images)
        assert torch.equal(maps[-1], last)
        dense = load_model(path, features_only=True, output_stride=16)
        found = dense(images)
        assert [m.shape[1] for m in found] == dense.feature_channels
        assert found[-1].shape[-1] == found[-2].shape[-1]  # the last one is not strided
        assert torch.equal(found[2], maps[2])  # before the stride that is left out


def test_other_input_channels_adapt_the_first_kernel_and_keep_the_head(stored, images):
    model, path = stored
    grey = images[:, :1]
    with torch.no_grad():
        expected = model(grey.expand(-1, 3, -1, -1))
        found = load_model(path, in_channels=1)(grey)
    # The sums over three equal channels come in another order.
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"drop_rate": 0.2}, "no argument 'drop_rate'; it is called dropout"),
        ({"numerics": "timm"}, "numerics='keras', and the model has 'timm'"),
        ({"width": 0.25}, "misshapen"),
        ({"residual": False}, "extra"),
    ],
)
def test_changes_that_the_tensors_do_not_fit_are_refused(stored, changes, told):
    with pytest.raises(InputError, match=told):
        load_model(stored[1], **changes)


@pytest.mark.parametrize("name", ["pretrained", "weights"])
def test_create_model_says_where_trained_weights_are(name):
    with pytest.raises(InputError, match=r"xception\.load_model\(source, num_classes=…\) loads"):
        xception.create_model("xception", **{name: True})


def test_wrapped_models_are_saved_as_what_they_wrap(stored, tmp_path, images):
    model, _ = stored
    average = AveragedModel(copy.deepcopy(model))
    save_model(average, tmp_path / "average.safetensors", class_names=["a", "b", "c"])
    loaded = open_model(tmp_path / "average.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded.model(images), model(images))
    with pytest.raises(InputError, match="a Linear is none of this project's models"):
        save_model(torch.nn.Linear(1, 1), tmp_path / "linear.safetensors")


def test_a_picture_is_transformed_as_prediction_does_it():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    prepare = Preprocessing(size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = prepare.normalize(prepare(image)[None])[0]
    assert torch.equal(prepare.transform(Image.fromarray(pixels)), expected)
    assert torch.equal(prepare.transform(image), expected)
    half = Image.new("RGBA", (50, 50), (255, 0, 0, 0))  # invisible: white, as everywhere here
    assert torch.equal(
        prepare.transform(half), prepare.transform(Image.new("RGB", (50, 50), "white"))
    )
