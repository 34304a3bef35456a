import io

import numpy as np
import pytest
import torch
from PIL import Image

from xception import create_model
from xception.data.preprocessing import Preprocessing
from xception.weights.files import open_model, save_model

CLASSES = [f"class {i}" for i in range(7)]


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory):
    torch.manual_seed(0)
    model = create_model(
        "xception", num_classes=7, width=0.125, middle_flow_repeats=0, stem_strides=(1, 1)
    )
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(model, path, class_names=CLASSES, preprocessing=Preprocessing(size=32))
    return path


@pytest.fixture
def loaded(weights_file):
    return open_model(weights_file)


@pytest.fixture(scope="session")
def pictures():
    """Five different images, as the bytes of PNG files."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(5):
        buffer = io.BytesIO()
        pixels = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        found.append(buffer.getvalue())
    return found
