import numpy as np
import pytest
import torch
from PIL import Image

from xception import create_model
from xception.data.preprocessing import Preprocessing
from xception.weights.files import open_model, save_model


@pytest.fixture(scope="session")
def lively():
    return _lively


def _lively(model, seed=0):
    """Gives every BatchNorm other statistics, so that forgetting one shows in the output."""
    generator = torch.Generator().manual_seed(seed)

    def between(low, high, like):
        return torch.rand(like.shape, generator=generator).to(like.dtype) * (high - low) + low

    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.copy_(between(-0.3, 0.3, module.running_mean))
            module.running_var.copy_(between(0.05, 0.6, module.running_var))
            if module.weight is not None:
                module.weight.data.copy_(between(0.6, 1.4, module.weight))
                module.bias.data.copy_(between(-0.3, 0.3, module.bias))
    return model.eval()


@pytest.fixture(scope="session")
def stored_model(tmp_path_factory):
    """Writes a network of a name into a new folder and opens it; its logits differ by image."""

    def store(name="xception", size=71, classes=5, **arguments):
        torch.manual_seed(0)
        model = _lively(create_model(name, num_classes=classes, **arguments))
        path = tmp_path_factory.mktemp("stored") / "model.safetensors"
        names = [f"class {index}" for index in range(classes)]
        save_model(model, path, class_names=names, preprocessing=Preprocessing(size=size))
        return open_model(path)

    return store


@pytest.fixture(scope="session")
def small_xception(stored_model):
    return stored_model(width=0.0625, middle_flow_repeats=1)


@pytest.fixture(scope="session")
def tiny_xception(stored_model):
    """Makes the smallest network: entry and exit flow, eight channels and more."""

    def store(**arguments):
        return stored_model(
            **{"size": 48, "width": 0.0625, "middle_flow_repeats": 0, "stem_strides": (1, 1)}
            | arguments
        )

    return store


@pytest.fixture(scope="session")
def tiny(lively):
    """The smallest network, in no file."""
    torch.manual_seed(0)
    network = create_model(
        "xception",
        num_classes=3,
        width=0.0625,
        middle_flow_repeats=0,
        stem_strides=(1, 1),
    )
    return lively(network)


@pytest.fixture(scope="session")
def converted(tiny_xception):
    """A network whose conversions are made once, by whichever test needs one first.

    A conversion takes seconds; tests that change its weights or its record copy the folder.
    """
    return tiny_xception(fc_units=(16,))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """Twelve smooth pictures of several sizes, and a file that is none."""
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for number in range(12):
        coarse = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((90 + number, 80), Image.Resampling.BICUBIC).save(
            folder / f"{number:02}.png"
        )
    (folder / "false.png").write_text("no image")
    return folder


@pytest.fixture
def weights_file(tmp_path, monkeypatch):
    """Where a weights file would lie, with a cache of the user's elsewhere."""
    monkeypatch.setenv("XCEPTION_CACHE", str(tmp_path / "user"))
    (tmp_path / "model").mkdir()
    return tmp_path / "model" / "model.safetensors"
