"""Keras Applications' networks as an oracle: our weights put into them, layer by layer.

Written from Keras' sources alone, apart from the converters of the package that it is to judge.
"""

import contextlib
import re

import keras
import numpy as np
import torch
from keras.src.backend.common import dtypes


@contextlib.contextmanager
def keras_precision(name):
    """Within it Keras builds and runs its layers in ``name``, "float32" or "float64".

    On the torch backend Keras' BatchNorm and pooling otherwise round float64 to float32.
    """
    before = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)
    promotions = dtypes.BIT64_TO_BIT32_DTYPE["float64"]
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = name
    try:
        yield
    finally:
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = promotions
        keras.config.set_dtype_policy(before[0])
        keras.config.set_floatx(before[1])


def keras_xception(size, precision="float32", **arguments):
    """keras.applications.Xception for one image size, logits instead of probabilities."""
    with keras_precision(precision):
        return keras.applications.Xception(
            weights=None, input_shape=(size, size, 3), classifier_activation=None, **arguments
        )


def keras_inception_v3(size, precision="float32", **arguments):
    """keras.applications.InceptionV3 for one image size, logits instead of probabilities."""
    with keras_precision(precision):
        return keras.applications.InceptionV3(
            weights=None, input_shape=(size, size, 3), classifier_activation=None, **arguments
        )


def xception_layers(model):
    """Pairs of (Keras layer, name of our module), for all 81 layers with weights."""
    pairs = []

    def unit(keras_name, ours):
        pairs.append((model.get_layer(keras_name), f"{ours}.conv"))
        pairs.append((model.get_layer(f"{keras_name}_bn"), f"{ours}.norm"))

    for i in (1, 2):
        unit(f"block1_conv{i}", f"entry_flow.conv{i}")
        for block in (2, 3, 4):
            unit(f"block{block}_sepconv{i}", f"entry_flow.module{block - 1}.separable{i}")
        unit(f"block13_sepconv{i}", f"exit_flow.module1.separable{i}")
        unit(f"block14_sepconv{i}", f"exit_flow.separable{i}")
    for i in (1, 2, 3):
        for block in range(5, 13):
            unit(f"block{block}_sepconv{i}", f"middle_flow.{block - 5}.separable{i}")
    residual = [layer for layer in model.layers if layer.name.startswith("conv2d")]
    norms = [layer for layer in model.layers if layer.name.startswith("batch_normalization")]
    modules = [f"entry_flow.module{i}" for i in (1, 2, 3)] + ["exit_flow.module1"]
    for layer, norm, ours in zip(residual, norms, modules, strict=True):
        pairs.append((layer, f"{ours}.shortcut.conv"))
        pairs.append((norm, f"{ours}.shortcut.norm"))
    pairs.append((model.get_layer("predictions"), "head.classifier"))
    return pairs


def inception_v3_layers(model, ours):
    """Pairs of (Keras layer, name of our module): both sides in the order of creation."""

    def created(kind):
        layers = [layer for layer in model.layers if isinstance(layer, kind)]
        return sorted(layers, key=lambda layer: int((re.findall(r"_(\d+)$", layer.name) or [0])[0]))

    convolutions = created(keras.layers.Conv2D)
    norms = created(keras.layers.BatchNormalization)
    pairs = []
    for convolution, norm, name in zip(convolutions, norms, ours, strict=True):
        pairs += [(convolution, f"{name}.conv"), (norm, f"{name}.norm")]
    return [*pairs, (model.get_layer("predictions"), "head.classifier")]


def _weights(layer, state, name):
    """Our tensors of one layer, laid out as Keras has them, in Keras' order."""
    if f"{name}.depthwise.weight" in state:
        return [
            state[f"{name}.depthwise.weight"].permute(2, 3, 0, 1),
            state[f"{name}.pointwise.weight"].permute(2, 3, 1, 0),
        ]
    if f"{name}.running_var" in state:
        suffixes = ["weight"] if layer.scale else []
        return [state[f"{name}.{s}"] for s in [*suffixes, "bias", "running_mean", "running_var"]]
    weight = state[f"{name}.weight"]
    tensors = [weight.T if weight.ndim == 2 else weight.permute(2, 3, 1, 0)]
    return tensors + ([state[f"{name}.bias"]] if f"{name}.bias" in state else [])


def fill(pairs, model):
    """Copies the weights of our ``model`` into the Keras layers; every tensor must be used."""
    state = model.state_dict()
    used = 0
    for layer, name in pairs:
        tensors = _weights(layer, state, name)
        with keras_precision(layer.dtype):  # or they get rounded to float32
            layer.set_weights([tensor.numpy() for tensor in tensors])
        used += len(tensors)
    return used


def gradients(pairs):
    """Yields (our name, gradient in Keras' layout) of every trained tensor."""
    for layer, name in pairs:
        for variable in layer.trainable_weights:
            suffix = {
                "gamma": "weight",
                "beta": "bias",
                "bias": "bias",
                "depthwise_kernel": "depthwise.weight",
                "pointwise_kernel": "pointwise.weight",
            }.get(variable.name, "weight")
            yield f"{name}.{suffix}", variable.value.grad


def in_keras_layout(name, tensor):
    """One of our gradients laid out as Keras has it."""
    if tensor.ndim == 4:
        return tensor.permute(2, 3, 0, 1) if "depthwise" in name else tensor.permute(2, 3, 1, 0)
    return tensor.T if tensor.ndim == 2 else tensor


def run(model, images, training=False):
    """Logits of a Keras model for (N, 3, H, W) images."""
    with keras_precision(str(images.dtype).removeprefix("torch.")):  # or inputs get rounded
        return model(images.permute(0, 2, 3, 1).contiguous(), training=training)


def relative_error(actual, reference):
    """Largest difference over the largest reference value."""
    actual, reference = (
        np.asarray(t.detach().cpu(), dtype=np.float64) for t in (actual, reference)
    )
    return float(np.abs(actual - reference).max() / np.abs(reference).max())


def calibrate(model, images):
    """Random scale and shift, and running statistics from one batch, so that nothing is neutral.

    With untouched statistics wrong padding and wrong eps would pass unnoticed.
    """
    generator = torch.Generator().manual_seed(7)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            if norm.weight.requires_grad:
                norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.uniform_(-0.5, 0.5, generator=generator)
        model.train()(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


def copied(build, state, dtype=torch.float64):
    """A model in eval mode with the given state, without the time that random weights take."""
    with torch.device("meta"):
        model = build()
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    model.load_state_dict({k: v.clone() for k, v in state.items()}, assign=True)
    return model.eval()
