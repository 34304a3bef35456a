import json

import pytest

for library in ("onnx", "onnxscript", "onnxruntime", "openvino"):
    pytest.importorskip(library)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """One file, written by the command."""
    from xception.cli.main import main

    path = tmp_path_factory.mktemp("exported") / "digits.onnx"
    assert main(["export", str(model), str(path), "--pixels", "--head", "softmax"]) == 0
    return path


def test_export_tells_what_it_wrote_and_how_to_use_it(command, model, tmp_path):
    code, out, err = command("export", model, tmp_path / "digits.pt2")
    assert (code, err) == (0, "")
    told = " ".join(out.split())
    for words in (
        "torch.export program, float32",
        "model.safetensors, sha256 ",
        "images (batch, 3, 32, 32) float32, RGB, -1 to 1",
        "logits (batch, 10)",
        "0 … 9",
        "of the largest output on 8 images; at most 0.0001 is allowed",
        "In Python, without this package:",
        "torch.export.load(",
    ):
        assert words in told


def rows_of(out):
    return [line.split("\t") for line in out.splitlines()][1:]


def test_predict_with_an_exported_file_gives_the_models_answers(command, model, exported, digits):
    words = (digits, "--top-k", 3, "--batch-size", 7)
    code, out, err = command("predict", exported, *words, "--threads", 1)
    assert (code, err) == (0, "")
    _, expected, _ = command("predict", model, *words)
    assert len(rows_of(out)) == 3 * 40
    assert len({row[1] for row in rows_of(out)}) > 1
    for found, wanted in zip(rows_of(out), rows_of(expected), strict=True):
        assert found[:2] == wanted[:2]
        # float32 in another order, and six decimals are printed
        assert float(found[2]) == pytest.approx(float(wanted[2]), rel=1e-3, abs=2e-6)


def test_evaluate_with_an_exported_file_gives_the_models_figures(command, model, tmp_path):
    code, _, _ = command("export", model, tmp_path / "digits.pt2")
    assert code == 0
    code, out, err = command("evaluate", tmp_path / "digits.pt2", "digits", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    _, out, _ = command("evaluate", model, "digits", "--json")
    expected = json.loads(out)
    assert found["images"] == 360
    assert found["top1"] == expected["top1"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)  # float32, other orders
    assert found["engine"] == "pt2"
    assert found["device"] == "cpu"


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--engine", "openvino"], "--engine is for models of this package"),
        (["--calibration", "x"], "--calibration is for models of this package"),
        (["--device", "cuda"], "is run on the CPU here; leave --device cuda away"),
        (["--threads", 0], "--threads is 0; give 1 or more"),
        (["--weights", "raw"], "holds one set of weights"),
        (["--image-size", 64], "takes images of 32 pixels; leave --image-size away, or export"),
    ],
)
def test_options_of_other_models_are_refused(command, exported, digits, verb, options, told):
    code, out, err = command(verb, exported, digits, *options)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_what_is_no_exported_file_is_one_sentence(command, exported, digits, tmp_path):
    import onnx

    stranger = tmp_path / "stranger.onnx"
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, stranger)
    others = {}
    for key, value in {
        "class_names": '["a", "b"]',
        "preprocessing": '{"size": 64}',
        "output": '{"name": "probabilities", "shape": ["batch", 9]}',
        "format_version": "2",
        "input": "{",
    }.items():
        model = onnx.load(exported)
        next(entry for entry in model.metadata_props if entry.key == key).value = value
        others[key] = tmp_path / f"{key}.onnx"
        onnx.save(model, others[key])
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(exported.read_bytes()[:1000])
    alone = tmp_path / "alone.xml"
    alone.write_text("<net/>")
    for path, told in (
        (stranger, "does not say what it is"),
        (damaged, "is no ONNX, opset 18 file, or damaged"),
        (alone, "alone.bin, which belongs to"),
        (tmp_path / "gone.onnx", "there is no file"),
        (others["class_names"], "they tell of (1, 10) and 2 class names"),
        (others["preprocessing"], "can't be run as its metadata say"),
        (others["output"], "it gives (1, 10) for one image, and they tell of (1, 9)"),
        (others["format_version"], "has format version 2, this program reads up to 1"),
        (others["input"], "does not say what it is (its metadata lack or spoil"),
    ):
        code, out, err = command("predict", path, digits)
        assert (code, out) == (2, "")
        assert told in err, err
        assert err.count("\n") == 1


@pytest.mark.parametrize("verb", ["inspect", "export"])
def test_other_verbs_say_that_an_exported_file_can_only_be_run(command, exported, tmp_path, verb):
    words = [tmp_path / "new.pt2"] if verb == "export" else []
    code, _, err = command(verb, exported, *words)
    assert code == 2
    assert "is an exported file, which can only be run" in err


def test_export_calibrates_with_a_data_set(command, model, tmp_path):
    path = tmp_path / "eight.onnx"
    words = ("--precision", "int8", "--calibration", "digits", "--head", "softmax")
    code, out, _ = command("export", model, path, *words)
    assert code == 0
    assert "opset 18, int8" in " ".join(out.split())
    assert "of the spread of the outputs on 300 images" in " ".join(out.split())
    import onnx

    nodes = onnx.load(path).graph.node
    assert sum(node.op_type == "QuantizeLinear" for node in nodes) > 10
    (softmax,) = (node for node in nodes if node.op_type == "Softmax")
    assert list(softmax.output) == ["probabilities"]  # no steps of 1/256: 1e-3 is not 0


def test_a_directory_that_cannot_be_written_is_one_sentence(command, model, tmp_path, monkeypatch):
    from pathlib import Path

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere, so it is pretended
    code, out, err = command("export", model, tmp_path / "digits.pt2")
    assert (code, out) == (2, "")
    assert "Permission denied; name another path" in err
