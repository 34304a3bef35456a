import json

import pytest

from xception.export.processor import cpu_flags, multiplies_bfloat16

needs_bfloat16 = pytest.mark.skipif(
    not multiplies_bfloat16(cpu_flags()), reason="this processor does not multiply bfloat16"
)


def rows_of(out):
    return [line.split("\t") for line in out.splitlines()][1:]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "auto"])
def test_predict_with_an_engine_names_the_same_classes(command, model, digits, engine):
    for library in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(library)
    words = ("predict", model, digits, "--top-k", 3, "--batch-size", 7)  # 40: the last has 5
    code, out, err = command(*words, "--engine", engine, "--threads", 1)
    assert code == 0
    told = "xception: auto chose " if engine == "auto" else ""
    assert err.startswith(told) if told else err == ""
    _, expected, _ = command(*words)
    assert len(rows_of(out)) == 3 * 40
    for found, wanted in zip(rows_of(out), rows_of(expected), strict=True):
        assert found[:2] == wanted[:2]
        # the engines' logits agree to 1e-5 or so, and six decimals are printed
        assert float(found[2]) == pytest.approx(float(wanted[2]), rel=1e-3, abs=2e-6)


def test_evaluate_measures_what_8_bits_lose_and_predict_tells_it(command, model, digits):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    words = ("evaluate", model, digits, "--json")
    code, plain, _ = command(*words)
    assert code == 0
    engine = ("--engine", "openvino-int8")
    code, out, err = command(*words, *engine, "--calibration", digits)
    assert code == 0
    assert f"calibrated with 40 images of {digits}; its loss of accuracy is not measured" in err
    found, expected = json.loads(out), json.loads(plain)["top1"]
    assert found["engine"] == "openvino-int8"
    assert found["float32_top1"] == expected
    assert found["top1_loss"] == pytest.approx(expected - found["top1"])
    code, _, err = command("predict", model, digits / "3", *engine)
    assert code == 0
    assert err == (
        f"xception: 8-bit, calibrated with 40 images of {digits}; top1 on 40 images of {digits}, "
        f"evaluation: {found['top1']:.4f}, float32 {expected:.4f}\n"
    )
    code, out, _ = command("evaluate", model, digits, *engine)
    assert "top-1 in float32" in out


@needs_bfloat16
def test_evaluate_measures_what_bfloat16_loses(command, model, digits):
    pytest.importorskip("openvino")
    code, plain, _ = command("evaluate", model, digits, "--json")
    code, out, _ = command("evaluate", model, digits, "--json", "--engine", "openvino-bf16")
    assert code == 0
    found, expected = json.loads(out), json.loads(plain)["top1"]
    assert found["engine"] == "openvino-bf16"
    assert found["float32_top1"] == expected
    assert found["top1_loss"] == pytest.approx(expected - found["top1"])
    _, _, err = command("predict", model, digits / "3", "--engine", "openvino-bf16")
    assert err == (
        f"xception: bfloat16; top1 on 40 images of {digits}, evaluation: {found['top1']:.4f}, "
        f"float32 {expected:.4f}\n"
    )


def test_evaluate_with_an_engine_gives_the_networks_figures(command, model, digits):
    pytest.importorskip("openvino")
    _, plain, _ = command("evaluate", model, digits, "--json")
    code, out, _ = command("evaluate", model, digits, "--json", "--engine", "openvino")
    found, expected = json.loads(out), json.loads(plain)
    assert code == 0
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)  # float32, other orders
    assert found["top1"] == expected["top1"]
    assert "engine" not in expected
    assert "float32_top1" not in found


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--engine", "openvin"], "no engine 'openvin'; did you mean 'openvino'? (known: torch,"),
        (["--threads", 0], "--threads is 0; give 1 or more"),
        (
            ["--engine", "openvino", "--calibration", "x"],
            "--calibration is for --engine openvino-int8",
        ),
        (["--engine", "openvino", "--device", "cuda"], "--engine openvino computes on the CPU"),
        (
            ["--engine", "openvino-int8", "--calibration", "nowhere"],
            "no data set, folder or recipe",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_wrong_engine_option_is_one_sentence(command, small_model, digits, verb, options, told):
    code, out, err = command(verb, small_model, digits, *options)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_predict_with_8_bits_calibrates_with_the_images_or_says_what_is_missing(
    command, small_model, pictures
):
    pytest.importorskip("nncf")
    code, _, err = command("predict", small_model, pictures, "--engine", "openvino-int8")
    assert code == 2
    assert (
        "there are 2 readable images in the images to classify; quantisation needs at least 10"
        in err
    )
