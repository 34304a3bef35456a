"""Foreign PyTorch files with missing, misshapen or additional tensors: the message names them."""

import argparse

import pytest
import timm
import torch
import torchvision

from xception.errors import InputError
from xception.weights.files import build
from xception.weights.reading import read_stored

CLASSES = 3


def tiny(model):
    """Its state dict with every value the same zero: full shapes, a file of a few kilobytes."""
    return {name: torch.zeros(()).expand(value.shape) for name, value in model.items()}


@pytest.fixture(scope="module")
def states():
    with torch.device("meta"):
        models = {
            "resnet50": torchvision.models.resnet50(num_classes=CLASSES),
            "vgg16": torchvision.models.vgg16(num_classes=CLASSES),
            "inception_v3": torchvision.models.inception_v3(
                num_classes=CLASSES, init_weights=False
            ),
            "legacy_xception": timm.create_model("legacy_xception", num_classes=CLASSES),
            "resnet50d": timm.create_model("resnet50d", num_classes=CLASSES),
            "resnet18": timm.create_model("resnet18", num_classes=CLASSES),
        }
    return {name: tiny(model.state_dict()) for name, model in models.items()}


HEADS = {
    "resnet50": "fc",
    "vgg16": "classifier.6",
    "inception_v3": "fc",
    "legacy_xception": "fc",
}
FIRST = {
    "resnet50": "conv1.weight",
    "vgg16": "features.0.weight",
    "inception_v3": "Conv2d_1a_3x3.conv.weight",
    "legacy_xception": "conv1.weight",
}


def read(state, tmp_path):
    torch.save(state, tmp_path / "a.pth")
    return read_stored(tmp_path / "a.pth")


@pytest.mark.parametrize("name", HEADS)
def test_whole_files_tell_classes_and_channels(name, states, tmp_path):
    arguments = read(states[name], tmp_path).description.arguments
    assert (arguments["num_classes"], arguments["in_channels"]) == (CLASSES, 3)


@pytest.mark.parametrize("name", ["resnet50", "inception_v3", "legacy_xception"])
def test_a_missing_first_kernel_is_named(name, states, tmp_path):
    state = {k: v for k, v in states[name].items() if k != FIRST[name]}
    with pytest.raises(InputError, match=FIRST[name]):
        read(state, tmp_path)


def test_vgg_without_its_first_kernel_is_refused(states, tmp_path):
    state = {k: v for k, v in states["vgg16"].items() if k != "features.0.weight"}
    with pytest.raises(InputError, match="no network known here"):
        read(state, tmp_path)
    state["features.99.weight"] = states["vgg16"]["features.0.weight"]
    with pytest.raises(InputError, match=r"no features\.0\.weight: a missing tensor, or another"):
        read(state, tmp_path)


def test_timms_resnet50d_is_told_to_be_another_resnet(states, tmp_path):
    with pytest.raises(
        InputError,
        match=r"no conv1\.weight: a missing tensor, or another ResNet such as resnet50d",
    ):
        read(states["resnet50d"], tmp_path)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("entry", ["weight", "bias"])
def test_half_a_classifier_is_told_by_what_is_missing(name, entry, states, tmp_path):
    missing = f"{HEADS[name]}.{entry}"
    state = {k: v for k, v in states[name].items() if k != missing}
    with pytest.raises(InputError, match=f"(1 missing: |no tensor ){missing}") as error:
        read(state, tmp_path)
    assert "extra" not in str(error.value)


@pytest.mark.parametrize("name", HEADS)
def test_a_transposed_classifier_does_not_fit_its_bias(name, states, tmp_path):
    weight = f"{HEADS[name]}.weight"
    state = {**states[name], weight: states[name][weight].T}
    with pytest.raises(InputError, match=rf"{weight}'s shape \d+x3 does not fit {HEADS[name]}\.b"):
        read(state, tmp_path)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("which", [FIRST, HEADS])
def test_a_scalar_instead_of_a_tensor_is_named(name, which, states, tmp_path):
    tensor = which[name] if which is FIRST else f"{which[name]}.weight"
    if (name, which) == ("vgg16", FIRST):
        pytest.skip("a VGG is known by its thirteen kernels")
    with pytest.raises(InputError, match=f"{tensor} has the shape scalar"):
        read({**states[name], tensor: torch.zeros(())}, tmp_path)


def test_averaged_models_counter_is_left_out(states, tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 2)).state_dict()
    assert set(averaged) == {"n_averaged", "module.weight", "module.bias"}  # torch's own names
    state = {f"module.{k}": v for k, v in states["legacy_xception"].items()}
    stored = read({"n_averaged": torch.tensor(7), **state}, tmp_path)
    assert stored.kind == "timm-xception"
    assert len(stored.tensors) == len(state)


def test_an_unknown_networks_message_lists_foreign_networks_only(states, tmp_path):
    with pytest.raises(InputError, match="no network known here") as error:
        read(states["resnet18"], tmp_path)
    assert "legacy_xception of timm" in str(error.value)
    assert "of this project" not in str(error.value)
    assert "Keras" not in str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_timms_training_checkpoint_is_read_and_its_average_taken(zipped, states, tmp_path):
    """timm's train script stores its command line, an argparse.Namespace, beside the tensors."""
    raw = states["legacy_xception"]
    averaged = raw | {"fc.bias": torch.ones(CLASSES)}
    options = argparse.Namespace(model="legacy_xception", lr=0.1, mean=None, img_size=[299])
    path = tmp_path / "model_best.pth.tar"
    torch.save(
        {"epoch": 3, "args": options, "state_dict": raw, "state_dict_ema": averaged},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    stored = read_stored(path)
    assert stored.kind == "timm-xception"
    assert stored.tensors["head.classifier.bias"].tolist() == [1.0] * CLASSES


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.to(torch.int8),
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
    ],
    ids=["int8", "complex", "sparse", "meta"],
)
def test_what_is_no_plain_number_is_refused(change, states, tmp_path):
    """An 8-bit integer is nothing without its scale, which the file's names do not tell."""
    state = states["resnet50"]
    state = {**state, "fc.weight": change(torch.ones(state["fc.weight"].shape))}
    with pytest.raises(InputError, match=r"other things than plain floating-point numbers in fc"):
        build(read(state, tmp_path))


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.bfloat16, torch.float64])
def test_other_floating_point_numbers_become_float32(kind, states, tmp_path):
    state = {
        name: (value + 0.25).to(kind) if value.is_floating_point() else value
        for name, value in states["resnet50"].items()
    }
    model = build(read(state, tmp_path)).model
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert all(tensor.eq(0.25).all() for tensor in model.parameters())  # exact in each type
