"""Exported files, run by their own runtimes: these tests never go through this package's reader."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import xception
from xception import create_model
from xception.data.preprocessing import Preprocessing
from xception.errors import InputError, RunFailedError
from xception.export import exported_network
from xception.export.agreement import FLOAT16_TOLERANCE
from xception.export.calibration import make_calibration
from xception.export.engine import FLOAT32_TOLERANCE
from xception.export.exported_network import build_network
from xception.export.exporting import export_model
from xception.export.opening import open_exported, read_exported
from xception.inference.prediction import open_image
from xception.weights.files import save_model

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")

NAMES = ['a<b>&"é', "b\n\t", "猫 🐈", "it's", "{}"]
FILES = {
    "plain.onnx": {},
    "pixels.onnx": {"pixels": True, "head": "softmax", "precision": "float16"},
    "eight.onnx": {"pixels": True, "precision": "int8"},
    "plain.xml": {},
    "pixels.xml": {"pixels": True, "head": "softmax", "precision": "float16"},
    "eight.xml": {"precision": "int8"},
    "plain.pt2": {},
    "pixels.pt2": {"pixels": True, "head": "softmax"},
    "features.pt2": {"head": "none", "image_size": 63},
}


@pytest.fixture(scope="module")
def source(converted, tiny_xception):
    """What a file is made from: a network with a fully-connected layer, if it is not 8-bit.

    OpenVINO computes 8-bit layers of 16 units wrongly for fixed small batches on one thread, which
    the comparison with the model finds.
    """
    without = tiny_xception()
    return lambda name: without if name.startswith("eight") else converted


@pytest.fixture(scope="module")
def written(source, photographs, tmp_path_factory):
    """Exports a file once, whichever test needs it first."""
    folder, made = tmp_path_factory.mktemp("exported"), {}

    def write(name):
        if name not in made:
            options = dict(FILES[name])
            if options.get("precision") == "int8":
                pytest.importorskip("nncf")
                options["calibration"] = photographs
            made[name] = export_model(source(name), folder / name, class_names=NAMES, **options)
        return made[name]

    return write


def crops_of(size, count, seed=1):
    return torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    )


@pytest.fixture(scope="module")
def photographed(photographs):
    """Twelve smooth crops of a size, as the 8-bit files have been calibrated with."""
    paths = sorted(photographs.glob("[0-9]*.png"))
    return lambda size: torch.stack([Preprocessing(size)(open_image(str(path))) for path in paths])


def run_by_its_runtime(path, images):
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (output,) = session.run(None, {"images": images.numpy()})
    elif path.suffix == ".xml":
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        output = openvino.Core().compile_model(path, "CPU", settings)(images.numpy())[0]
    else:
        with torch.no_grad():
            output = torch.export.load(path).module()(images).numpy()
    assert output.dtype == np.float32
    return torch.from_numpy(np.array(output))


def expected_of(loaded, crops, options):
    """What the file should give, from the model itself."""
    scaled = crops.float() / 127.5 - 1
    with torch.no_grad():
        if options.get("head") != "none":
            logits = loaded.model(scaled)
            return logits.softmax(1) if options.get("head") == "softmax" else logits
        kept = []
        hook = loaded.model.head.classifier.register_forward_pre_hook(
            lambda _, inputs: kept.append(inputs[0])
        )
        loaded.model(scaled)
        hook.remove()
        return kept[0]


@pytest.mark.parametrize("name", FILES)
def test_a_file_computes_what_the_model_does_for_any_number_of_images(
    source, written, photographed, name
):
    path, options = written(name).path, FILES[name]
    crops = photographed(options.get("image_size", 48))[:8]
    expected = expected_of(source(name), crops, options)
    assert expected.std(dim=0).max() > 1e-3 * expected.abs().max()  # the images differ
    pixels = options.get("pixels", False)
    images = crops.permute(0, 2, 3, 1).contiguous() if pixels else crops / 127.5 - 1
    # float32: another order of sums gives 2e-6. float16: 3e-4 was seen, wrong things give 1e-2.
    # 8 bits: a few hundredths of the spread.
    spread = expected.max() - expected.min()
    tolerance = {"float32": 2e-5, "float16": 3e-3, "int8": 0.1}[options.get("precision", "float32")]
    for part in (slice(0, 8), slice(0, 1), slice(1, 4)):
        found = run_by_its_runtime(path, images[part])
        assert found.shape == expected[part].shape
        assert (found - expected[part]).abs().max() < tolerance * spread
    if options.get("precision") == "float16":
        assert (found - expected[1:4]).abs().max() > 1e-6 * expected.abs().max()  # it is float16


@pytest.mark.parametrize("name", FILES)
def test_a_file_opens_as_the_model_that_it_was_made_from(source, written, photographed, name):
    file = written(name)
    opened = open_exported(file.path)
    assert opened.class_names == NAMES
    size = FILES[name].get("image_size", 48)
    assert opened.preprocessing == Preprocessing(size=size)
    assert opened.description.architecture == "xception"
    assert opened.description.arguments == source(name).model.arguments
    crops = photographed(size)[:3]
    images = opened.preprocessing.normalize(crops)
    found = opened.model(images)
    head = FILES[name].get("head")
    expected = expected_of(source(name), crops, {"head": head if head == "none" else "logits"})
    if head == "softmax":  # logarithms of probabilities: logits but for one number for each image
        expected = expected.log_softmax(1)
    tolerance = {"float32": 2e-5, "float16": 3e-3, "int8": 0.1}[file.description.precision]
    assert (found - expected).abs().max() < tolerance * (expected.max() - expected.min())


@pytest.mark.parametrize("name", FILES)
def test_the_metadata_come_back_and_hold_no_path_of_this_machine(written, name):
    file = written(name)
    assert read_exported(file.path) == file.description
    described = file.description
    assert described.model.class_names == NAMES
    assert described.producer == f"xception {xception.__version__}"
    assert described.source["file"] == "model.safetensors"
    assert described.agreement["difference"] <= described.agreement["tolerance"]
    for path in file.files:
        content = path.read_bytes()
        assert b"site-packages" not in content
        assert str(Path(xception.__file__).parent).encode() not in content
        assert b"File " not in content


def test_the_source_is_told_by_its_sha256(converted, written):
    import hashlib

    digest = hashlib.sha256(converted.path.read_bytes()).hexdigest()
    assert written("plain.onnx").description.source["sha256"] == digest


def test_an_onnx_file_says_in_plain_keys_what_its_reader_needs(written):
    import onnx

    path = written("pixels.onnx").path
    told = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(told["class_names"]) == NAMES
    assert json.loads(told["preprocessing"])["size"] == 48
    assert json.loads(told["input"]) == {
        "name": "images",
        "layout": "NHWC",
        "shape": ["batch", 48, 48, 3],
        "dtype": "uint8",
        "range": [0, 255],
        "colours": "RGB",
    }
    assert json.loads(told["output"]) == {"name": "probabilities", "shape": ["batch", 5]}
    assert json.loads(told["model"])["numerics"] == "keras"
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    (given,), (output,) = model.graph.input, model.graph.output
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    sizes = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert sizes == ["batch", 48, 48, 3]
    assert (given.name, output.name) == ("images", "probabilities")
    weights = {tensor.data_type for tensor in model.graph.initializer if np.prod(tensor.dims) > 3}
    assert weights == {onnx.TensorProto.FLOAT16}


def test_float_inputs_tell_their_range(written):
    told = written("plain.pt2").description.input
    assert (told["layout"], told["dtype"], told["range"]) == ("NCHW", "float32", [-1.0, 1.0])
    assert told["shape"] == ["batch", 3, 48, 48]


def test_openvino_stores_half_the_bytes_in_float16(written):
    whole, half = (written(name).files[1].stat().st_size for name in ("plain.xml", "pixels.xml"))
    assert half < 0.52 * whole


def test_8_bit_onnx_weights_have_7_bits(written):
    """2 · 255 · 64 fits 16 bits, where processors without VNNI add; see ``processor``."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(written("eight.onnx").path)
    weights = [
        numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) >= 2
    ]
    convs = sum(node.op_type in ("Conv", "Gemm") for node in model.graph.node)
    assert len(weights) == convs
    assert 60 <= max(int(abs(values.astype(int)).max()) for values in weights) <= 64


# --- without a conversion ---------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(lively):
    torch.manual_seed(0)
    network = create_model(
        "xception",
        num_classes=3,
        width=0.0625,
        middle_flow_repeats=0,
        stem_strides=(1, 1),
    )
    return lively(network)


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


def test_other_architectures_are_exported(stored_model, tmp_path):
    loaded = stored_model("separable_vgg", size=48, width=0.125)
    file = export_model(loaded, tmp_path / "vgg.pt2")
    images = torch.rand(2, 3, 48, 48) * 2 - 1
    with torch.no_grad():
        expected = loaded.model(images)
    found = run_by_its_runtime(file.path, images)
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()


# --- what is refused --------------------------------------------------------------------


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


def test_feature_maps_are_no_one_output(tmp_path):
    network = create_model("xception", features_only=True, width=0.0625)
    with pytest.raises(InputError, match="a list of feature maps"):
        export_model(network, tmp_path / "model.pt2")


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


def test_the_tolerances_are_those_that_are_documented():
    page = Path(__file__).parents[3] / "docs" / "export.md"
    text = page.read_text(encoding="utf-8")
    assert f"{FLOAT32_TOLERANCE:g}" == "0.0001"
    assert f"{FLOAT16_TOLERANCE:g}" == "0.01"
    assert "1e-4" in text
    assert "1e-2" in text
