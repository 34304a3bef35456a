"""What is not exported: wrong wishes, and files that compute something else than the model."""

import zipfile
from pathlib import Path

import pytest
import torch

from xception import create_model
from xception.errors import InputError, RunFailedError
from xception.export import exported_network, requirements
from xception.export.agreement import FLOAT16_TOLERANCE
from xception.export.calibration import make_calibration
from xception.export.engine import FLOAT32_TOLERANCE
from xception.export.exported_check import compare_with_model
from xception.export.exporting import export_model
from xception.weights.files import save_model

for library in ("onnx", "onnxscript", "onnxruntime", "openvino"):
    pytest.importorskip(library)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("x.keras", {}, r"has to end in .onnx, .pt2, .xml; xception convert MODEL TARGET.weights"),
        ("x.tflite", {}, r"has to end in .*; convert an exported .pt2 with litert-torch"),
        ("x.bin", {}, r"has to end in .*; name the .xml of the pair"),
        ("x", {}, r"x has to end in .onnx, .pt2, .xml$"),
        ("x.onnx", {"format": "pt2"}, r"x.onnx has to end in .pt2$"),
        ("x.onnx", {"format": "onx"}, r"there is no format 'onx'; did you mean 'onnx'\?"),
        ("x.pt2", {"precision": "float16"}, "a .pt2 file can't have the precision 'float16'"),
        ("x.onnx", {"precision": "bf16"}, "a .onnx file can't have the precision 'bf16'"),
        ("x.onnx", {"precision": "int8"}, "give --calibration, a folder or a recipe"),
        ("x.pt2", {"calibration": "."}, "--calibration is for --precision int8"),
        ("x.pt2", {"head": "sigmoid"}, "there is no head 'sigmoid'; give logits, softmax, none"),
        ("x.pt2", {"image_size": 8}, r"images of 8 pixels are too small: the network takes \d+ or"),
        ("no/where.pt2", {}, "there is no directory .*no to write where.pt2 into"),
    ],
)
def test_a_wrong_wish_is_one_sentence_and_writes_nothing(
    tiny_xception, tmp_path, name, options, told
):
    with pytest.raises(InputError, match=told) as caught:
        export_model(tiny_xception(), tmp_path / name, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_can_not_be_written_is_refused_before_the_work(
    tiny_xception, tmp_path, monkeypatch
):
    monkeypatch.setattr(requirements.os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(InputError, match=f"the directory {tmp_path} is not writable: name a file"):
        export_model(tiny_xception(), tmp_path / "x.pt2")


def test_feature_maps_are_no_one_output(tmp_path):
    network = create_model("xception", features_only=True, width=0.0625)
    with pytest.raises(InputError, match="a list of feature maps"):
        export_model(network, tmp_path / "model.pt2")


def test_probabilities_of_several_labels_are_no_softmax(tmp_path):
    network = create_model("xception", num_classes=3, width=0.0625, middle_flow_repeats=0)
    save_model(network, tmp_path / "several.safetensors", multi_label=True)
    with pytest.raises(InputError, match="take --head logits, and the sigmoid of each"):
        export_model(tmp_path / "several.safetensors", tmp_path / "x.pt2", head="softmax")


def test_calibration_images_of_another_size_are_refused(converted, tmp_path):
    images = make_calibration([torch.zeros(3, 40, 40, dtype=torch.uint8)] * 10, "black")
    with pytest.raises(InputError, match="have 40 pixels and the exported network takes 48"):
        export_model(converted, tmp_path / "x.onnx", precision="int8", calibration=images)


@pytest.mark.parametrize(
    ("name", "options", "missing", "extra"),
    [
        ("x.onnx", {}, "onnxscript", "onnx"),
        ("x.xml", {}, "openvino", "openvino"),
        ("x.xml", {"precision": "int8"}, "nncf", "openvino"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    converted, tmp_path, monkeypatch, name, options, missing, extra
):
    import sys

    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError) as caught:
        export_model(converted, tmp_path / name, **options)
    assert str(caught.value) == (
        f"the library {missing} is not installed: pip install 'xception[{extra}]'"
    )


def test_a_file_that_exists_is_kept_unless_allowed(tiny, tmp_path):
    path = tmp_path / "model.pt2"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"model.pt2 exists: .* allow it with --overwrite"):
        export_model(tiny, path, image_size=40)
    assert path.read_text() == "mine"
    export_model(tiny, path, image_size=40, overwrite=True)
    assert zipfile.is_zipfile(path)
    (tmp_path / "other.bin").write_text("mine")
    with pytest.raises(InputError, match=r"other.bin exists"):
        export_model(tiny, tmp_path / "other.xml", image_size=40)
    (tmp_path / "folder.pt2").mkdir()
    with pytest.raises(InputError, match="is a directory; name a file"):
        export_model(tiny, tmp_path / "folder.pt2", image_size=40, overwrite=True)


@pytest.mark.parametrize("head", ["logits", "softmax", "none"])
def test_what_computes_something_else_is_not_kept(tiny, tmp_path, monkeypatch, head):
    fold = exported_network.fold_batch_norms

    def wrongly(model):
        folded = fold(model)
        first = next(m for m in folded.modules() if isinstance(m, torch.nn.Conv2d))
        first.bias.add_(0.02)
        return folded

    path = tmp_path / "model.pt2"
    path.write_text("old")
    monkeypatch.setattr(exported_network, "fold_batch_norms", wrongly)
    with pytest.raises(RunFailedError, match=r"model.pt2 computes something else than the model"):
        export_model(tiny, path, image_size=40, head=head, overwrite=True)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_that_diverged_is_not_exported(tiny, tmp_path):
    network = create_model("xception", **tiny.arguments)
    network.head.classifier.bias.data[0] = float("nan")
    with pytest.raises(RunFailedError, match=r"output is not finite .* take an earlier checkpoint"):
        export_model(network, tmp_path / "model.pt2", image_size=40)
    assert list(tmp_path.iterdir()) == []


def test_one_batch_that_is_not_finite_is_enough(tiny, tmp_path):
    described = export_model(tiny, tmp_path / "model.pt2", image_size=40).description
    assert described.agreement["batches"] == [1, 2, 5]

    def overflows(images):
        return torch.full((len(images), 3), float("inf" if len(images) == 5 else "1"))

    with pytest.raises(RunFailedError, match="output is not finite"):
        compare_with_model(overflows, overflows, described, None, "model.pt2")


def test_the_tolerances_are_those_that_are_documented():
    page = Path(__file__).parents[3] / "docs" / "export.md"
    text = page.read_text(encoding="utf-8")
    assert f"{FLOAT32_TOLERANCE:g}" == "0.0001"
    assert f"{FLOAT16_TOLERANCE:g}" == "0.01"
    assert "1e-4" in text
    assert "1e-2" in text
