"""What is exported, and ``.pt2`` files, which need no library beside torch."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import xception
from xception import create_model
from xception.data.preprocessing import Preprocessing
from xception.errors import InputError
from xception.export.exported_check import reference_of
from xception.export.exported_description import ExportedDescription
from xception.export.exported_network import build_network
from xception.export.exporting import export_model
from xception.export.opening import as_engine_takes_it, open_exported
from xception.weights.description import ModelDescription
from xception.weights.files import save_model


def crops_of(size, count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


@settings(max_examples=20, deadline=None)
@given(
    size=st.integers(33, 70),
    count=st.integers(1, 4),
    mean=st.tuples(*[st.floats(0, 1)] * 3),
    std=st.tuples(*[st.floats(0.1, 1)] * 3),
    head=st.sampled_from(["logits", "softmax", "none"]),
)
def test_the_exported_network_is_the_model_for_any_size_and_scale(
    tiny, size, count, mean, std, head
):
    preprocessing = Preprocessing(size=size, mean=mean, std=std)
    crops = crops_of(size, count, seed=size)
    with torch.no_grad():
        scaled = preprocessing.normalize(crops)
        logits = tiny(scaled)
        made = build_network(tiny, preprocessing, head=head, pixels=True, half=False)
        found = made(crops.permute(0, 2, 3, 1))
        if head == "none":
            assert tiny.head.classifier(found).allclose(logits, rtol=1e-4, atol=1e-4)
        else:
            expected = logits.softmax(1) if head == "softmax" else logits
            # folding rounds once more: 1e-7 of the values inside, through 12 layers
            assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
            plain = build_network(tiny, preprocessing, head=head, pixels=False, half=False)
            assert (plain(scaled) - found).abs().max() <= 1e-6 * expected.abs().max()


def test_a_network_in_training_is_exported_as_in_eval_mode_and_stays_in_training(tiny, tmp_path):
    network = create_model("xception", **tiny.arguments)
    network.load_state_dict(tiny.state_dict())
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    preprocessing = Preprocessing(size=40, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    file = xception.export_model(
        network,
        tmp_path / "model.pt2",
        class_names=["x", "y", "z"],
        preprocessing=preprocessing,
        pixels=True,
    )
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert file.description.source.keys() == {"weights_digest"}
    unscaled = replace(file.description, pixels=False)
    assert unscaled.input["range"] == pytest.approx([-0.4 / 0.2, (1 - 0.4) / 0.2])  # of red
    opened = open_exported(file.path)
    images = preprocessing.normalize(crops_of(40, 2))
    with torch.no_grad():
        expected = tiny(images)
    assert (opened.model(images) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert opened.preprocessing == preprocessing
    with pytest.raises(InputError, match="2 class names for 3 logits"):
        export_model(network, tmp_path / "other.pt2", class_names=["x", "y"])


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels_are_exported_without_scaling(lively, tmp_path, channels):
    network = lively(
        create_model(
            "xception",
            num_classes=3,
            in_channels=channels,
            width=0.0625,
            middle_flow_repeats=0,
            stem_strides=(1, 1),
        )
    )
    path = tmp_path / "model.pt2"
    with pytest.raises(InputError, match=f"takes images of {channels} channel.*leave it out"):
        export_model(network, path, image_size=40, pixels=True)
    file = export_model(network, path, image_size=40)
    assert file.description.input["shape"] == ["batch", channels, 40, 40]
    assert file.description.input["range"] == [-1, 1]
    images = torch.rand(3, channels, 40, 40) * 2 - 1
    with torch.no_grad():
        expected = network(images)
    assert (open_exported(path).model(images) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_model_without_classifier_gives_its_features(lively, tmp_path):
    network = lively(
        create_model(
            "xception",
            num_classes=0,
            width=0.0625,
            middle_flow_repeats=0,
            stem_strides=(1, 1),
        )
    )
    save_model(network, tmp_path / "model.safetensors", preprocessing=Preprocessing(size=40))
    file = export_model(tmp_path / "model.safetensors", tmp_path / "model.pt2")
    assert (file.description.output, file.description.outputs) == ("features", 128)
    images = torch.rand(2, 3, 40, 40) * 2 - 1
    with torch.no_grad():
        expected = network(images)
    found = open_exported(file.path).model(images)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    with pytest.raises(InputError, match="has no classifier, so there is nothing for --head softm"):
        export_model(network, tmp_path / "other.pt2", head="softmax")


def test_a_probability_of_nothing_is_the_same_in_the_model_and_in_its_file():
    """Of a class 200 below the best one float32 has no probability, whose logarithm is infinite."""
    logits = torch.tensor([[0.0, -200.0], [-50.0, 0.0]])
    described = ExportedDescription(
        ModelDescription("xception", {}, "keras"),
        Preprocessing(),
        False,
        "probabilities",
        2,
        "float32",
        "xception 0",
        {},
    )
    run = as_engine_takes_it(lambda images: logits.softmax(1), described)
    expected = reference_of(lambda images: logits, "softmax")(logits)
    torch.testing.assert_close(run(logits), expected)
    assert expected[0, 1] == pytest.approx(-85.2, abs=0.1)  # ln(1e-37), by hand: -37 * 2.3026
    assert expected[1, 0] == -50
