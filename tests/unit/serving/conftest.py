import io

import numpy as np
import pytest
from PIL import Image

from xception.weights.files import open_model


@pytest.fixture
def loaded(seven_classes):
    return open_model(seven_classes)


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
