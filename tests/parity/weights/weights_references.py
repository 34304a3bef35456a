"""What the converters are judged against: foreign models with calibrated BatchNorm.

With untouched statistics (mean 0, variance 1) a wrong eps or a swapped BatchNorm hardly shows, so
every reference normalises by the statistics of one real batch, and has random gammas and betas.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from keras_reference import keras_precision

CLASSES = 10
XCEPTION_SIZE = 71
INCEPTION_SIZE = 75


class Reference(NamedTuple):
    """A foreign model, some images, and what it answers."""

    model: object
    images: torch.Tensor  # (N, 3, S, S) in [-1, 1]
    logits: torch.Tensor  # (N, CLASSES)


def random_images(size: int, seed: int = 0, count: int = 2) -> torch.Tensor:
    """Smooth random images: neighbouring pixels agree, as in photographs."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, size // 8 + 2, size // 8 + 2, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")
    return (images + 0.1 * torch.randn(images.shape, generator=generator)).clamp(0, 1) * 2 - 1


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference over the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())


def answer(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(images)


def _channels_last(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def keras_answer(model, images: torch.Tensor) -> torch.Tensor:
    """A Keras model's output, in torch's layout."""
    with torch.no_grad():
        output = model(_channels_last(images), training=False).detach().cpu()
    return output.permute(0, 3, 1, 2) if output.ndim == 4 else output


def calibrate_keras(model, images: torch.Tensor, seed: int = 1) -> None:
    """Gives a Keras model random gammas, betas, biases and the statistics of one batch."""
    import keras

    generator = np.random.default_rng(seed)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:
        if norm.gamma is not None:
            norm.gamma.assign(generator.uniform(0.7, 1.3, norm.gamma.shape))
        norm.beta.assign(generator.normal(0, 0.1, norm.beta.shape))
        norm.momentum = 0.0
    for layer in model.layers:
        if getattr(layer, "use_bias", False):
            layer.bias.assign(generator.normal(0, 0.1, layer.bias.shape))
    with torch.no_grad():
        model(_channels_last(images), training=True)
    for norm in norms:
        norm.momentum = 0.99


def calibrate_torch(model: torch.nn.Module, images: torch.Tensor, seed: int = 1) -> None:
    """Gives a torch model random gammas, betas and the statistics of one batch."""
    generator = torch.Generator().manual_seed(seed)
    norms = [x for x in model.modules() if isinstance(x, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.data.uniform_(0.7, 1.3, generator=generator)
        norm.bias.data.normal_(0, 0.1, generator=generator)
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    model.eval()
    for norm in norms:
        norm.momentum = 0.1


def keras_reference(model, size: int) -> Reference:
    """Calibrates a Keras model and asks it."""
    calibrate_keras(model, random_images(size, seed=7, count=8))
    images = random_images(size)
    return Reference(model, images, keras_answer(model, images))


def torch_reference(model: torch.nn.Module, size: int) -> Reference:
    """Calibrates a torch model and asks it."""
    calibrate_torch(model, random_images(size, seed=7, count=8))
    images = random_images(size)
    return Reference(model, images, answer(model, images))


def float64_reference(build: Callable[[], object], size: int) -> Reference:
    """A Keras model calibrated in float32, whose answer is computed in float64.

    Inception V3 answers with a rounding error of 1e-4 in float32, on either side; in float64 a
    right translation leaves none.
    """
    reference = keras_reference(build(), size)
    with keras_precision("float64"):
        twin = build()
        twin.set_weights(reference.model.get_weights())
        logits = keras_answer(twin, reference.images.double())
    return reference._replace(logits=logits)
