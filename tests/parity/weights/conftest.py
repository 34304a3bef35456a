"""The foreign reference models, each built once."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # keras_reference, also when run by themselves

import pytest
import torch
from weights_references import (
    CLASSES,
    INCEPTION_SIZE,
    XCEPTION_SIZE,
    Reference,
    float64_reference,
    keras_reference,
    torch_reference,
)


def _keras_application(name: str, size: int):
    import keras

    keras.utils.set_random_seed(0)
    return getattr(keras.applications, name)(
        weights=None,
        input_shape=(size, size, 3),
        classes=CLASSES,
        classifier_activation=None,
    )


@pytest.fixture(scope="session")
def keras_xception() -> Reference:
    return keras_reference(_keras_application("Xception", XCEPTION_SIZE), XCEPTION_SIZE)


@pytest.fixture(scope="session")
def keras_inception_v3() -> Reference:
    """Its logits are computed in float64."""
    return float64_reference(
        lambda: _keras_application("InceptionV3", INCEPTION_SIZE), INCEPTION_SIZE
    )


@pytest.fixture(scope="session")
def timm_xception() -> Reference:
    import timm

    torch.manual_seed(0)
    model = timm.create_model("legacy_xception", num_classes=CLASSES)
    return torch_reference(model, XCEPTION_SIZE)


@pytest.fixture(scope="session")
def torchvision_inception_v3() -> Reference:
    """With its auxiliary tower, and without its hidden input transform."""
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.inception_v3(
        weights=None, num_classes=CLASSES, aux_logits=True, init_weights=False
    )
    model.AuxLogits.requires_grad_(False)
    tower, model.AuxLogits, model.aux_logits = model.AuxLogits, None, False  # it needs 299 pixels
    reference = torch_reference(model, INCEPTION_SIZE)
    model.AuxLogits, model.aux_logits = tower, True
    return reference


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small images leave nothing for a second thread to do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
