import json
import os
import shutil
import sys
from dataclasses import replace

import pytest
import torch

import xception
from xception.errors import InputError, RunFailedError
from xception.export import build, runtimes
from xception.export.cache import cache_folders
from xception.export.engine import FLOAT32_TOLERANCE, Engine
from xception.export.load import load_engine
from xception.weights.files import open_model, save_model

FLOAT32_ENGINES = ["torch", "onnxruntime", "openvino"]
COMPILERS = {"darwin": "clang++", "win32": "cl"}


@pytest.fixture(scope="module")
def networks(stored_model, converted, small_xception):
    return {
        "xception": small_xception,
        "inception_v3": stored_model("inception_v3", size=75, width=0.125),
        "inception_v3 paper": stored_model("inception_v3", size=75, width=0.125, variant="paper"),
        "fully connected": converted,
    }


def require(engine):
    if engine == "onnxruntime":
        for library in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(library)
    elif engine == "openvino":
        pytest.importorskip("openvino")


def images_for(loaded, count, seed=1):
    size = loaded.preprocessing.size
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size, size, generator=generator) * 2 - 1


def difference(loaded, engine, images):
    with torch.no_grad():
        expected = loaded.model(images)
    found = engine(images)
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    # Otherwise an engine that returns a constant would pass.
    assert len(images) == 1 or expected.std(dim=0).max() > 1e-3 * expected.abs().max()
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("engine", FLOAT32_ENGINES)
@pytest.mark.parametrize(
    "network",
    [
        "xception",
        "inception_v3",
        pytest.param("inception_v3 paper", marks=pytest.mark.slow),
        "fully connected",
    ],
)
def test_an_engine_agrees_with_the_network_for_any_number_of_images(networks, network, engine):
    require(engine)
    loaded = networks[network]
    made = load_engine(loaded, engine, batch_size=8)
    for count in (8, 1, 3, 8):
        # see FLOAT32_TOLERANCE: sums in another order give about 2e-6
        assert difference(loaded, made, images_for(loaded, count)) < FLOAT32_TOLERANCE / 4
    size = loaded.preprocessing.size
    assert (made.facts.name, made.num_classes, made.size) == (engine, 5, size)
    assert made(images_for(loaded, 8)[:0]).shape == (0, 5)


needs_compiler = pytest.mark.skipif(
    not shutil.which(os.environ.get("CXX", COMPILERS.get(sys.platform, "g++"))),
    reason="no C++ compiler where torch looks for one",
)


@needs_compiler
def test_the_compiled_engine_agrees_and_is_compiled_once(networks, monkeypatch):
    loaded = networks["fully connected"]
    made = load_engine(loaded, "compile", batch_size=3)
    for count in (3, 1, 8):  # whole, filled up, in three parts
        assert difference(loaded, made, images_for(loaded, count)) < FLOAT32_TOLERANCE / 4
    monkeypatch.setattr(build, "write_compiled", refuse)
    again = load_engine(loaded, "compile", batch_size=3)
    assert torch.equal(again(images_for(loaded, 4)), made(images_for(loaded, 4)))


def refuse(*_, **__):
    raise AssertionError("converted twice")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_conversion_is_kept_until_the_weights_change(
    converted, lively, tmp_path, monkeypatch, engine
):
    require(engine)
    images = images_for(converted, 2)
    first = load_engine(converted, engine)(images)
    path = shutil.copytree(converted.path.parent, tmp_path / "copy") / converted.path.name
    name = {"onnxruntime": "to_onnx", "openvino": "to_openvino"}[engine]
    convert = getattr(build, name)
    monkeypatch.setattr(build, name, refuse)
    assert torch.equal(load_engine(path, engine)(images), first)
    monkeypatch.setattr(build, name, convert)
    changed = open_model(path)
    names, preprocessing = changed.class_names, changed.preprocessing
    save_model(lively(changed.model, 1), path, class_names=names, preprocessing=preprocessing)
    changed, made = open_model(path), load_engine(path, engine)
    assert difference(changed, made, images) < FLOAT32_TOLERANCE / 4
    assert not torch.allclose(made(images), first, rtol=0.01)


def test_another_version_of_a_library_converts_anew(converted, monkeypatch):
    require("onnxruntime")
    before = load_engine(converted, "onnxruntime").facts.record["entry"]
    versions = build.versions_of

    def newer(*names):
        return versions(*names) | {"onnx": "99.0"}

    monkeypatch.setattr(build, "versions_of", newer)
    after = load_engine(converted, "onnxruntime").facts.record
    assert after["entry"] != before
    assert after["identity"]["versions"]["onnx"] == "99.0"


def test_a_conversion_that_computes_something_else_is_refused(tiny_xception, monkeypatch):
    require("onnxruntime")
    loaded = tiny_xception()
    fold = build.fold_batch_norms

    def wrongly(model):
        folded = fold(model)
        next(m for m in folded.modules() if isinstance(m, torch.nn.Conv2d)).bias.add_(0.05)
        return folded

    monkeypatch.setattr(build, "fold_batch_norms", wrongly)
    with pytest.raises(RunFailedError, match=r"onnxruntime computes something else .*another --en"):
        load_engine(loaded, "onnxruntime")
    kept = [path.name for folder in cache_folders(loaded.path) for path in folder.glob("*")]
    assert not [name for name in kept if not name.endswith(".lock")]


def test_a_model_that_a_converter_refuses_is_one_sentence(small_xception, monkeypatch, tmp_path):
    require("onnxruntime")

    def fail(*_):
        raise KeyError("aten::strange\nmore")

    path = tmp_path / "other.safetensors"
    monkeypatch.setattr(build, "to_onnx", fail)
    with pytest.raises(RunFailedError) as caught:
        load_engine(replace(small_xception, path=path), "onnxruntime")
    assert "can't be converted for onnxruntime" in str(caught.value)
    assert "take another --engine" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_precision_weights_run_in_float32(tiny_xception, tmp_path):
    """The file's float16 numbers are widened once; the engine computes in float32."""
    require("onnxruntime")
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = tmp_path / "half.safetensors"
    whole = tiny_xception()
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in load_file(whole.path).items()
    }
    with safe_open(whole.path, "pt") as file:
        save_file(tensors, path, metadata=file.metadata())
    loaded = open_model(path)
    made = load_engine(path, "onnxruntime")
    assert difference(loaded, made, images_for(loaded, 2)) < FLOAT32_TOLERANCE / 4


@pytest.mark.parametrize("shape", [(1, 3, 72, 71), (1, 1, 71, 71), (3, 71, 71)])
def test_an_engine_refuses_images_of_another_shape(small_xception, shape):
    engine = load_engine(small_xception, "torch")
    with pytest.raises(InputError, match=r"takes images \(N, 3, 71, 71\)"):
        engine(torch.zeros(shape))


def test_an_engine_takes_a_view_and_other_floats(small_xception):
    """What comes from a loader may be channels_last, sliced, or float64."""
    require("openvino")
    engine = load_engine(small_xception, "openvino", batch_size=2)
    images = images_for(small_xception, 4)
    expected = engine(images[::2].clone())
    for given in (
        images[::2],
        images[::2].contiguous(memory_format=torch.channels_last),
        images[::2].double(),
    ):
        assert torch.equal(engine(given), expected)
    kept = engine(images[:2])
    engine(images[2:])  # must not write over the answer before
    assert torch.equal(kept, engine(images[:2]))


def test_a_network_keeps_its_mode_and_its_parameters(small_xception):
    model = small_xception.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    load_engine(small_xception, "torch")(images_for(small_xception, 2))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"engine": "openvin"}, "there is no engine 'openvin'.*openvino"),
        ({"engine": "torch", "threads": 0}, "--threads is 0; give 1 or more"),
        ({"engine": "torch", "batch_size": 0}, "batch_size is 0; give 1 or more"),
    ],
)
def test_load_engine_names_a_mistake(small_xception, arguments, told):
    with pytest.raises(InputError, match=told):
        load_engine(small_xception, **arguments)


def test_load_engine_is_a_public_name_that_takes_a_path(small_xception):
    engine = xception.load_engine(str(small_xception.path), "torch")
    assert isinstance(engine, Engine)


def test_torch_computes_with_the_threads_asked_for(small_xception, monkeypatch):
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, images):
            seen.append(torch.get_num_threads())
            return images

    before = torch.get_num_threads()
    runtimes.run_torch(Spy(), threads=before + 2)(torch.zeros(1, 3, 2, 2))
    assert seen == [before + 2]
    assert torch.get_num_threads() == before


def test_onnxruntime_and_openvino_get_the_threads_asked_for(small_xception, monkeypatch):
    require("onnxruntime")
    require("openvino")
    import onnxruntime
    import openvino

    counts = []
    session, compile_model = onnxruntime.InferenceSession, openvino.Core.compile_model

    def open_session(path, options, **more):
        counts.append(options.intra_op_num_threads)
        return session(path, options, **more)

    def compile_and_note(core, model, device, settings):
        compiled = compile_model(core, model, device, settings)
        counts.append(compiled.get_property("INFERENCE_NUM_THREADS"))
        assert str(compiled.get_property("INFERENCE_PRECISION_HINT")) in (
            "f32",
            "<Type: 'float32'>",
        )
        return compiled

    for engine in ("onnxruntime", "openvino"):
        load_engine(small_xception, engine)  # converted by now
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    monkeypatch.setattr(openvino.Core, "compile_model", compile_and_note)
    for engine in ("onnxruntime", "openvino"):
        made = load_engine(small_xception, engine, threads=1, batch_size=2)
        made(images_for(small_xception, 1))
        assert made.facts.threads == 1
    assert counts == [1, 1, 1]  # OpenVINO twice: for a batch of two, and for any


def test_the_record_says_what_a_conversion_is(small_xception):
    require("onnxruntime")
    facts = load_engine(small_xception, "onnxruntime").facts
    record = json.loads(json.dumps(dict(facts.record)))
    assert record["identity"]["engine"] == "onnxruntime"
    assert set(record["identity"]["versions"]) == {"torch", "onnx", "onnxscript"}
    assert 0 < record["difference"] < FLOAT32_TOLERANCE / 4
    assert set(record["files"]) == {"model.onnx"}
