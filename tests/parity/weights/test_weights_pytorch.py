"""timm's, Cadene's, tstandley's and torchvision's state dicts: the same logits as their models."""

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from weights_references import (
    CLASSES,
    answer,
    calibrate_torch,
    random_images,
    relative_error,
)

from xception.errors import InputError
from xception.weights.files import open_model
from xception.weights.pytorch_torchvision import torchvision_architecture

TOLERANCE = 1e-5  # the same operators of torch on both sides


@pytest.fixture(scope="module")
def xception_state(timm_xception):
    return timm_xception.model.state_dict()


@pytest.fixture(scope="module")
def inception_state(torchvision_inception_v3):
    return torchvision_inception_v3.model.state_dict()


def as_cadene(state):
    return {k.replace("fc.", "last_linear."): v for k, v in state.items()}


def as_tstandley(state):
    """2-D pointwise kernels, and none of the batch counters that torch 0.4 introduced."""
    return {
        k: v[:, :, 0, 0] if "pointwise" in k else v
        for k, v in state.items()
        if not k.endswith("num_batches_tracked")
    }


def save(state, path, style):
    if style == "safetensors":
        path = path.with_suffix(".safetensors")
        safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, path)
    elif style == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("rename", "style"),
    [
        (dict, "zip"),
        (dict, "safetensors"),
        (as_cadene, "zip"),
        (as_tstandley, "legacy"),
        (lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "epoch": 3}, "zip"),
        (lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()}, "zip"),
        (lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}}, "zip"),
    ],
    ids=["timm", "timm-safetensors", "cadene", "tstandley", "module", "compiled", "lightning"],
)
def test_open_model_gives_timm_logits(
    rename, style, timm_xception, xception_state, tmp_path, record_property
):
    path = save(rename(xception_state), tmp_path / "xception.pth", style)
    loaded = open_model(path)
    error = relative_error(answer(loaded.model, timm_xception.images), timm_xception.logits)
    record_property("relative_error", error)
    assert error <= TOLERANCE
    assert loaded.model.numerics == "timm"
    assert loaded.preprocessing.mode == "resize-crop"
    assert loaded.preprocessing.interpolation == "bicubic"


def test_open_model_gives_torchvision_logits(
    torchvision_inception_v3, inception_state, tmp_path, record_property
):
    assert any(name.startswith("AuxLogits.") for name in inception_state)
    loaded = open_model(save(inception_state, tmp_path / "inception_v3.pth", "zip"))
    logits = answer(loaded.model, torchvision_inception_v3.images)
    error = relative_error(logits, torchvision_inception_v3.logits)
    record_property("relative_error", error)
    assert error <= TOLERANCE
    assert loaded.model.numerics == "timm"


def test_open_model_gives_timm_inception_logits(
    torchvision_inception_v3, inception_state, tmp_path, record_property
):
    model = timm.create_model("inception_v3", num_classes=CLASSES).eval()
    model.load_state_dict({k: v for k, v in inception_state.items() if "AuxLogits" not in k})
    loaded = open_model(save(model.state_dict(), tmp_path / "inception_v3.pth", "safetensors"))
    images = torchvision_inception_v3.images
    error = relative_error(answer(loaded.model, images), answer(model, images))
    record_property("relative_error", error)
    assert error <= TOLERANCE


@pytest.mark.parametrize("name", ["resnet50", "vgg16"])
def test_open_model_gives_torchvision_classifiers(name, tmp_path):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
    images = random_images(64)
    if name == "resnet50":
        calibrate_torch(model, random_images(64, seed=7, count=8))
    loaded = open_model(save(model.state_dict(), tmp_path / "a.pth", "zip"))
    assert loaded.description.architecture == name
    assert loaded.preprocessing.size == 224
    assert loaded.preprocessing.mean == (0.485, 0.456, 0.406)
    assert torch.equal(answer(loaded.model, images), answer(model, images))


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "vgg16_bn", "vgg19"])
def test_other_torchvision_classifiers_are_refused(name, tmp_path):
    with torch.device("meta"):
        state = torchvision.models.get_model(name, weights=None).state_dict()
    assert torchvision_architecture(state) is None


@pytest.mark.parametrize("name", ["resnet50", "resnet101", "resnet152"])
def test_resnets_are_told_apart(name):
    with torch.device("meta"):
        state = torchvision.models.get_model(name, weights=None).state_dict()
    assert torchvision_architecture(state) == name


def test_open_model_recognises_truncated_files(xception_state, tmp_path):
    for style in ("zip", "legacy", "safetensors"):
        path = save(xception_state, tmp_path / f"{style}.pth", style)
        path.write_bytes(path.read_bytes()[:-100_000])
        with pytest.raises(InputError, match="truncated"):
            open_model(path)


def test_open_model_lists_missing_and_extra_names(xception_state, tmp_path):
    state = dict(xception_state)
    state["block5.rep.9.weight"] = state.pop("block5.rep.8.weight")
    with pytest.raises(InputError, match=r"1 missing: block5.rep.8.weight; 1 extra: block5.rep.9"):
        open_model(save(state, tmp_path / "a.pth", "zip"))


def test_open_model_lists_transposed_shapes(xception_state, tmp_path):
    state = dict(xception_state)
    state["conv2.weight"] = state["conv2.weight"].transpose(0, 1).contiguous()
    with pytest.raises(InputError, match=r"1 misshapen: entry_flow.conv2.conv.weight \(32x64x3x3"):
        open_model(save(state, tmp_path / "a.pth", "zip"))


def test_logits_show_swapped_layers(timm_xception, xception_state, tmp_path):
    state = dict(xception_state)
    first, second = "block5.rep.4.pointwise.weight", "block9.rep.4.pointwise.weight"
    state[first], state[second] = state[second], state[first]
    loaded = open_model(save(state, tmp_path / "a.pth", "zip"))
    error = relative_error(answer(loaded.model, timm_xception.images), timm_xception.logits)
    assert error > 1e-2


def test_open_model_lists_missing_inception_names(inception_state, tmp_path):
    state = {k: v for k, v in inception_state.items() if k != "Mixed_6d.branch7x7_2.conv.weight"}
    with pytest.raises(InputError, match=r"1 missing: Mixed_6d.branch7x7_2.conv.weight"):
        open_model(save(state, tmp_path / "a.pth", "zip"))


def test_open_model_refuses_other_networks(tmp_path):
    path = save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "a.pth", "zip")
    with pytest.raises(InputError, match="2 tensors of no network known here"):
        open_model(path)
    with pytest.raises(InputError, match="no kind 'timm-xcepton'; did you mean 'timm-xception'"):
        open_model(path, kind="timm-xcepton")
    with pytest.raises(InputError, match="is no legacy_xception of timm or Cadene: 234 missing"):
        open_model(path, kind="timm-xception")
