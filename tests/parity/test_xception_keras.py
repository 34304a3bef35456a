"""Xception against keras.applications.Xception on the torch backend, statistics calibrated."""

import keras_reference as reference
import pytest
import torch
import torch.nn.functional as F

from xception.models.layers import SameMaxPool2d
from xception.models.xception import Xception


def random_images(size, count=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(size)
    return torch.rand(count, 3, size, size, generator=generator, dtype=dtype) * 2 - 1


@pytest.fixture(scope="module")
def ours():
    torch.manual_seed(0)
    return reference.calibrate(Xception(), random_images(150, 4))


def filled(ours, size):
    model = reference.keras_xception(size)
    # 6 convolutions, 34 separable ones of two tensors, 40 BatchNorms of four, dense with bias
    assert reference.fill(reference.xception_layers(model), ours) == 6 + 34 * 2 + 40 * 4 + 2
    return model


def test_parameter_counts_equal_keras(ours):
    theirs = reference.keras_xception(71)
    assert sum(p.numel() for p in ours.parameters()) == 22_855_952 == _count(theirs, True)
    floats = [v for v in ours.state_dict().values() if v.is_floating_point()]
    assert sum(v.numel() for v in floats) == 22_910_480 == _count(theirs, False)


def _count(model, trained):
    return sum(v.value.numel() for v in (model.trainable_weights if trained else model.weights))


@pytest.mark.parametrize("size", [299, 256, 150, 71])
def test_float32_logits_equal_keras(ours, size):
    images = random_images(size, 1)
    theirs = filled(ours, size)
    with torch.no_grad():
        error = reference.relative_error(ours(images), reference.run(theirs, images))
    assert error <= 1e-5  # issue's bound; two float32 summation orders over 36 layers give 2e-6


def test_wrong_pool_or_wrong_eps_fails(ours):
    theirs = filled(ours, 150)
    images = random_images(150, 1)  # its pools read 72, 36 and 18: all asymmetric in TF-SAME
    with torch.no_grad():
        logits = reference.run(theirs, images)

    def error_of(change):
        mutant = Xception()
        mutant.load_state_dict(ours.state_dict())
        change(mutant)
        with torch.no_grad():
            return reference.relative_error(mutant.eval()(images), logits)

    def symmetric_pool(model):
        for module in model.modules():
            if hasattr(module, "pool") and isinstance(module.pool, SameMaxPool2d):
                module.pool = torch.nn.MaxPool2d(3, 2, padding=1)

    def small_eps(model):
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 1e-5

    assert error_of(lambda model: None) <= 1e-5
    assert error_of(symmetric_pool) > 1e-3  # a hundred times the bound
    assert error_of(small_eps) > 1e-3


def test_training_step_in_float64_equals_keras(ours):
    torch.manual_seed(1)
    model = Xception(num_classes=11).double()
    reference.calibrate(model, random_images(71, 4, torch.float64)).train()
    theirs = reference.keras_xception(72, "float64", classes=11)
    pairs = reference.xception_layers(theirs)
    reference.fill(pairs, model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, labels = random_images(72, 4, torch.float64), torch.tensor([0, 3, 10, 3])

    logits = model(images)
    F.cross_entropy(logits, labels).backward()
    expected = reference.run(theirs, images, training=True)
    F.cross_entropy(expected, labels).backward()

    assert reference.relative_error(logits, expected) <= 1e-9
    own = dict(model.named_parameters())
    compared = 0
    for name, gradient in reference.gradients(pairs):
        own_gradient = reference.in_keras_layout(name, own[name].grad)
        assert reference.relative_error(own_gradient, gradient) <= 1e-9, name
        compared += 1
    assert compared == len(own) == 6 + 34 * 2 + 40 * 2 + 2
    _check_statistics(before, model.state_dict(), pairs)


def _check_statistics(before, after, pairs):
    """Means move as in Keras; variances too, but for the factor n / (n - 1) of the batch's part."""
    positions = {"entry_flow.conv1": 4 * 35**2, "exit_flow.separable2": 4 * 3**2}  # 72 pixels
    layers = {name: layer for layer, name in pairs}
    for unit, n in positions.items():
        norm = layers[f"{unit}.norm"]
        mean, variance = norm.moving_mean.value, norm.moving_variance.value
        assert torch.allclose(after[f"{unit}.norm.running_mean"], mean, rtol=1e-9, atol=1e-12)
        old = before[f"{unit}.norm.running_var"]
        own_part = (after[f"{unit}.norm.running_var"] - 0.99 * old) / 0.01
        assert torch.allclose(own_part, (variance - 0.99 * old) / 0.01 * n / (n - 1), rtol=1e-6)
