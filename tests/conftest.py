"""Settings of every test."""

import os

import pytest
import torch

os.environ["KERAS_BACKEND"] = "torch"  # before anything imports Keras
torch.set_num_threads(1)  # the tests' tensors are small: more threads wait for one another


@pytest.fixture(scope="session")
def seven_classes(tmp_path_factory):
    """A weights file of a small Xception for ``class 0`` to ``class 6``, 32x32, random."""
    from xception import create_model, save_model
    from xception.data.preprocessing import Preprocessing

    torch.manual_seed(0)
    model = create_model(
        "xception", num_classes=7, width=0.125, middle_flow_repeats=0, stem_strides=(1, 1)
    )
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    names = [f"class {index}" for index in range(7)]
    save_model(model, path, class_names=names, preprocessing=Preprocessing(size=32))
    return path
