"""Inception V3 against keras.applications.InceptionV3 on the torch backend."""

import keras_reference as reference
import pytest
import torch
import torch.nn.functional as F

from xception.models.inception_v3 import InceptionV3
from xception.models.inception_v3_modules import InceptionConv


def random_images(size, count=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(size)
    return torch.rand(count, 3, size, size, generator=generator, dtype=dtype) * 2 - 1


def units(model):
    return [name for name, m in model.named_modules() if isinstance(m, InceptionConv)]


@pytest.fixture(scope="module")
def ours():
    """Keras has no gamma: ours stays at 1, and is left out of the calibration."""
    torch.manual_seed(0)
    model = InceptionV3(num_classes=20).double()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.requires_grad_(False)
    return reference.calibrate(model, random_images(107, 4))


def filled(model, size, precision):
    theirs = reference.keras_inception_v3(size, precision, classes=20)
    pairs = reference.inception_v3_layers(theirs, units(model))
    assert reference.fill(pairs, model) == 94 + 94 * 3 + 2
    return theirs, pairs


def test_parameter_counts():
    def count(variant):
        with torch.device("meta"):
            return sum(p.numel() for p in InceptionV3(variant=variant).parameters())

    with torch.device("meta"):
        norms = [m for m in InceptionV3().modules() if isinstance(m, torch.nn.BatchNorm2d)]
    scales = sum(norm.num_features for norm in norms)
    theirs = reference.keras_inception_v3(75, classes=1000)
    trained = sum(v.value.numel() for v in theirs.trainable_weights)
    assert trained == 23_817_352
    assert count("standard") == 23_834_568 == trained + scales
    assert count("paper") == 23_626_728  # table 3


@pytest.mark.parametrize("size", [107, pytest.param(299, marks=pytest.mark.slow)])
def test_float64_logits_equal_keras(ours, size):
    images = random_images(size)
    theirs, _ = filled(ours, size, "float64")
    with torch.no_grad():
        error = reference.relative_error(ours(images), reference.run(theirs, images))
    assert error <= 1e-9


@pytest.mark.parametrize("size", [107, pytest.param(299, marks=pytest.mark.slow)])
def test_float32_logits_equal_keras(ours, size):
    images = random_images(size).float()
    state = ours.state_dict()
    model = reference.copied(lambda: InceptionV3(num_classes=20), state, torch.float32)
    theirs, _ = filled(model, size, "float32")
    with torch.no_grad():
        error = reference.relative_error(model(images), reference.run(theirs, images))
        wrong = reference.copied(
            lambda: InceptionV3(num_classes=20, numerics="timm"), state, torch.float32
        )
        mutant = reference.relative_error(wrong(images), reference.run(theirs, images))
    assert error <= 2e-4  # Keras' float32 is itself 3.6e-5 from its float64
    assert mutant > 1e-2  # pools that count the padding do not pass


@pytest.mark.slow
def test_training_step_in_float64_equals_keras(ours):
    model = reference.copied(lambda: InceptionV3(num_classes=20), ours.state_dict())
    theirs, pairs = filled(model, 107, "float64")
    images, labels = random_images(107, 2), torch.tensor([0, 3])
    logits = model.train()(images)
    F.cross_entropy(logits, labels).backward()
    expected = reference.run(theirs, images, training=True)
    F.cross_entropy(expected, labels).backward()
    assert reference.relative_error(logits, expected) <= 1e-9
    own = dict(model.named_parameters())
    names = set()
    for name, gradient in reference.gradients(pairs):
        own_gradient = reference.in_keras_layout(name, own[name].grad)
        assert reference.relative_error(own_gradient, gradient) <= 1e-9, name
        names.add(name)
    assert set(own) - names == {f"{unit}.norm.weight" for unit in units(model)}
