"""Starting weights from a file of the same network: all, or all but the head."""

import pytest
import torch

from xception.errors import InputError
from xception.models.registry import create_model
from xception.weights.files import save_model
from xception.weights.transfer import load_backbone


def save(model, tmp_path):
    save_model(model, tmp_path / "a.safetensors", class_names=["a", "b", "c"])
    return tmp_path / "a.safetensors"


def test_everything_but_the_head_comes(make_model, tmp_path):
    source, target = make_model(1), make_model(2, num_classes=7)
    head = target.head.classifier.weight.clone()
    report = load_backbone(target, save(source, tmp_path))
    state, given = target.state_dict(), source.state_dict()
    for name in state:
        if name.startswith("head."):
            continue
        assert torch.equal(state[name], given[name]), name
    assert torch.equal(target.head.classifier.weight, head)
    assert report.kept == ["head.classifier.bias", "head.classifier.weight"]
    assert report.left_out == report.kept
    assert report.description.class_names == ["a", "b", "c"]


def test_the_same_features_come_out(make_model, images, tmp_path):
    source, target = make_model(1), make_model(2, fc_units=(16,), dropout=0.5)
    load_backbone(target, save(source, tmp_path))
    with torch.no_grad():
        assert torch.equal(target.eval().forward_features(images), source.forward_features(images))


def test_the_first_kernel_is_adapted_to_other_channels(make_model, images, tmp_path):
    source, target = make_model(1), make_model(2, in_channels=1)
    report = load_backbone(target, save(source, tmp_path))
    assert report.adapted == "entry_flow.conv1.conv.weight"
    grey = images[:, :1]
    with torch.no_grad():
        expected = source.forward_features(grey.expand(-1, 3, -1, -1))
        found = target.eval().forward_features(grey)
    assert torch.allclose(found, expected, atol=1e-4 * expected.abs().max())  # sums in other order


def test_the_first_kernel_can_be_repeated_instead(make_model, tmp_path):
    source, target = make_model(1), make_model(2, in_channels=4)
    load_backbone(target, save(source, tmp_path), input_kernel="repeat")
    old, new = (m.entry_flow.conv1.conv.weight for m in (source, target))
    assert torch.equal(new, old[:, [0, 1, 2, 0]] * 0.75)


def test_a_backbone_without_top_is_a_source_too(make_model, tmp_path):
    source = make_model(1)
    source.reset_classifier(0)
    save_model(source, tmp_path / "a.safetensors")
    report = load_backbone(make_model(2), tmp_path / "a.safetensors")
    assert report.left_out == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"numerics": "timm"}, "was made with numerics='keras', and the model has 'timm': set "),
        ({"intermediate_activation": "relu"}, "intermediate_activation=None"),
        ({"width": 0.25}, "121 misshapen: entry_flow.conv2.conv.weight"),
        ({"middle_flow_repeats": 1}, "18 extra: middle_flow.1.separable1"),
        ({"residual": False}, "extra: entry_flow.module1.shortcut"),
    ],
)
def test_another_network_is_an_error_and_nothing_changes(arguments, message, make_model, tmp_path):
    target = make_model(2, **arguments)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_backbone(target, save(make_model(1), tmp_path))
    assert all(torch.equal(before[k], v) for k, v in target.state_dict().items())


def test_another_architecture_is_an_error(model, tmp_path):
    target = create_model("inception_v3", width=0.125, num_classes=3)
    with pytest.raises(InputError, match="holds a 'xception', and the model is a 'inception_v3'"):
        load_backbone(target, save(model, tmp_path))


def test_resnets_keep_their_own_head(tmp_path):
    source = create_model("resnet50", num_classes=3)
    save_model(source, tmp_path / "a.safetensors")
    target = create_model("resnet50", num_classes=5)
    report = load_backbone(target, tmp_path / "a.safetensors")
    assert report.kept == ["fc.bias", "fc.weight"]
    assert torch.equal(target.layer4[2].conv3.weight, source.layer4[2].conv3.weight)


@pytest.mark.parametrize("units", [(), (16,)])
def test_a_head_comes_with_its_rows_in_the_wanted_order(units, make_model, images, tmp_path):
    source, target = make_model(1, fc_units=units), make_model(2, fc_units=units, dropout=0.5)
    report = load_backbone(target, save(source, tmp_path), head_rows=[1, 2, 0])
    assert (report.kept, report.left_out) == ([], [])
    with torch.no_grad():
        expected = source(images)[:, [1, 2, 0]]
        assert torch.equal(target.eval()(images), expected)


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "inception_v3"])
def test_every_networks_classifier_is_found(name, tmp_path):
    small = {"width": 0.125} if name == "inception_v3" else {}
    source, target = (create_model(name, num_classes=3, **small) for _ in range(2))
    classifier = {"resnet50": "fc", "vgg16": "classifier.6", "inception_v3": "head.classifier"}
    with torch.no_grad():
        source.get_submodule(classifier[name]).bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    load_backbone(target, save(source, tmp_path), head_rows=[2, 0, 1])
    found, given = (m.get_submodule(classifier[name]) for m in (target, source))
    assert found.bias.tolist() == [3.0, 1.0, 2.0]
    assert torch.equal(found.weight, given.weight[[2, 0, 1]])
