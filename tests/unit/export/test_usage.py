"""The lines of Python that ``xception export`` prints give what ``xception predict`` gives."""

import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xception import create_model
from xception.data.preprocessing import Preprocessing
from xception.export.exported_description import ExportedDescription
from xception.export.exported_network import headless
from xception.export.exporting import export_model
from xception.export.opening import open_network, pixels_of
from xception.export.usage import usage
from xception.inference.prediction import open_image, predict
from xception.weights.description import ModelDescription
from xception.weights.files import save_model

CENTRAL = Preprocessing(size=40, crop_fraction=0.875)
WHOLE = Preprocessing(size=48, crop_fraction=1.0)
CENTRE = Preprocessing(
    size=40,
    mode="resize-crop",
    crop_fraction=0.8975,
    interpolation="bicubic",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


PAD = Preprocessing(size=48, mode="pad", interpolation="bicubic")
SQUASH = Preprocessing(size=40, mode="squash")


@pytest.fixture(scope="module")
def trained(photographs):
    """Makes a network with a class for each of the first five photographs.

    The class's weights are the photograph's own features less those of all, so that its logit is 4
    for that photograph, and far below for the others.
    """

    def make(preprocessing):
        torch.manual_seed(0)
        network = create_model(
            "xception", num_classes=5, width=0.0625, middle_flow_repeats=0, stem_strides=(1, 1)
        )
        paths = sorted(photographs.glob("[0-9]*.png"))
        crops = torch.stack([preprocessing(open_image(str(path))) for path in paths])
        with torch.no_grad():
            for _ in range(60):  # the running statistics settle at those of the photographs
                network(preprocessing.normalize(crops))
            features = headless(network)(preprocessing.normalize(crops))
            own = features[:5] - features.mean(dim=0)
            weight = 4 * own / own.square().sum(dim=1, keepdim=True)
            network.head.classifier.weight.copy_(weight)
            network.head.classifier.bias.copy_(-weight @ features.mean(dim=0))
        return network.eval()

    return make


@pytest.mark.parametrize(
    ("name", "preprocessing", "options"),
    [
        ("a.onnx", CENTRAL, {}),
        ("a.xml", CENTRE, {"pixels": True}),
        ("b.xml", WHOLE, {}),
        ("a.pt2", CENTRE, {}),
        ("b.pt2", PAD, {"pixels": True, "head": "softmax"}),
        ("d.pt2", SQUASH, {}),
        ("c.pt2", CENTRE, {"class_names": None}),
        ("e.pt2", CENTRE, {"multi_label": True}),
    ],
)
def test_the_printed_lines_agree_with_predict(
    trained, photographs, tmp_path, monkeypatch, name, preprocessing, options
):
    if name.endswith(".onnx"):
        for library in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(library)
    elif name.endswith(".xml"):
        pytest.importorskip("openvino")
    monkeypatch.chdir(tmp_path)
    names = [f"class {letter}" for letter in "abcde"]
    options = {"class_names": names, "multi_label": False} | options
    source = tmp_path / "model.safetensors"
    save_model(trained(preprocessing), source, multi_label=options.pop("multi_label"))
    file = export_model(source, tmp_path / name, preprocessing=preprocessing, **options)
    classes, probabilities = set(), []
    for number in (0, 3, 4, 9):
        photo = photographs / f"{number:02}.png"
        shutil.copy(photo, tmp_path / "photo.jpg")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(usage(file.path, file.description), {})
        name_said, _, probability = said.getvalue().strip().rpartition(" ")
        (expected,) = predict(open_network(file.path), [photo], top_k=1)
        assert name_said == expected.classes[0]
        # PIL resizes with other rounding: single pixels differ by 1 of 255
        assert float(probability) == pytest.approx(expected.probabilities[0], abs=0.01)
        classes.add(name_said)
        probabilities.append(expected.probabilities[0])
    # a wrong scale or crop gives other answers only if the answers depend on the image
    assert len(classes) >= 3
    assert max(probabilities) - min(probabilities) > 0.02  # twice what may differ


@pytest.mark.parametrize("preprocessing", [CENTRAL, CENTRE])
def test_the_printed_lines_scale_as_the_preprocessing_does(preprocessing):
    """All 256 values in every channel; a picture's answer does not tell 127.5 from 128."""
    model = ModelDescription("xception", {"in_channels": 3}, "keras")
    described = ExportedDescription(
        model, preprocessing, False, "logits", 5, "float32", "xception 0", {}
    )
    lines = usage(Path("a.onnx"), described).splitlines()
    values = torch.arange(256, dtype=torch.uint8).view(16, 16, 1) + torch.tensor([0, 1, 2]).byte()
    told = {"np": np, "image": values.numpy()}
    exec("\n".join(line for line in lines if line.startswith("images =")), told)
    expected = preprocessing.normalize(values.permute(2, 0, 1)[None])
    torch.testing.assert_close(torch.from_numpy(told["images"]), expected, rtol=0, atol=1e-6)


def test_features_have_a_shape_and_no_class(trained, photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(photographs / "00.png", tmp_path / "photo.jpg")
    file = export_model(trained(WHOLE), "model.pt2", preprocessing=WHOLE, head="none")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(usage(file.path, file.description), {})
    assert said.getvalue() == "(128,)\n"


@settings(max_examples=50, deadline=None)
@given(
    mean=st.tuples(*[st.floats(0, 1)] * 3),
    std=st.tuples(*[st.floats(0.05, 2)] * 3),
)
def test_pixels_come_back_from_any_scale(mean, std):
    """All 256 values in every channel: what ``predict`` hands to a file that takes pixels."""
    preprocessing = Preprocessing(size=16, mean=mean, std=std)
    crops = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    found = pixels_of(preprocessing.normalize(crops), preprocessing)
    assert found.permute(0, 3, 1, 2).equal(crops)
