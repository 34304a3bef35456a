import importlib
import os
import re
import sys
from pathlib import Path

import pytest

from xception.errors import InputError
from xception.export import extras
from xception.export.load import load_engine


def without(monkeypatch, *absent):
    """As if these libraries were not installed."""
    real = importlib.import_module

    def import_module(name):
        if name in absent:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name)

    monkeypatch.setattr(extras, "import_module", import_module)


@pytest.mark.parametrize(
    ("engine", "library", "extra"),
    [
        ("onnxruntime", "onnxruntime", "onnx"),
        ("onnxruntime", "onnxscript", "onnx"),
        ("openvino", "openvino", "openvino"),
        ("openvino-int8", "nncf", "openvino"),
    ],
)
def test_an_engine_without_its_library_names_the_extra(
    tiny_xception, monkeypatch, engine, library, extra
):
    for other in {"onnxruntime", "openvino"} - {library}:
        pytest.importorskip(other)
    loaded = tiny_xception()
    without(monkeypatch, library)
    with pytest.raises(InputError) as caught:
        load_engine(loaded, engine)
    assert str(caught.value) == (
        f"the library {library} is not installed: pip install 'xception[{extra}]', "
        "or take another --engine"
    )


def test_a_library_that_can_not_be_loaded_gives_the_reason(monkeypatch):
    def import_module(name):
        raise ImportError("libtbb.so.12: cannot open shared object file")

    monkeypatch.setattr(extras, "import_module", import_module)
    with pytest.raises(InputError, match=r"openvino can't be loaded \(libtbb.so.12"):
        extras.require_library("openvino")


def test_onnx_runtime_is_told_to_send_no_reports(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    extras.require_library("onnxruntime")
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")  # somebody's own wish
    extras.require_library("onnxruntime")
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"


def test_openvino_can_not_send_reports(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    extras.require_library("openvino")
    with pytest.raises(ImportError):
        importlib.import_module("openvino_telemetry")


def test_libraries_with_threads_of_their_own_are_imported_in_processes_of_their_own():
    """After OpenVINO, asynchronous training in the same process has crashed."""
    root = Path(__file__).parents[3]
    listed = re.search(r"ENGINE_TESTS := ((?:.*\\\n)*.*)", (root / "Makefile").read_text())
    apart = [root / word for word in listed[1].replace("\\", " ").split()]

    def imports_one(text):
        skips = "importorskip" in text and re.search('"(openvino|onnxruntime|nncf)"', text)
        return skips or re.search(r"^\s*(import|from) (openvino|onnxruntime|nncf)", text, re.M)

    found = [
        path for path in (root / "tests").rglob("*.py") if imports_one(path.read_text("utf-8"))
    ]
    assert len(found) > 5
    assert [path for path in found if not any(path.is_relative_to(a) for a in apart)] == []
