from pathlib import Path

import pytest
import torch

from xception.errors import InputError, RunFailedError
from xception.export import build
from xception.export.agreement import BFLOAT16_TOLERANCE
from xception.export.cache import add_to_record, cache_folders
from xception.export.load import load_engine
from xception.export.processor import cpu_flags, multiplies_bfloat16

pytest.importorskip("openvino")
ENGINE = "openvino-bf16"
needs_bfloat16 = pytest.mark.skipif(
    not multiplies_bfloat16(cpu_flags()), reason="this processor does not multiply bfloat16"
)


@pytest.fixture
def images(small_xception):
    size = small_xception.preprocessing.size
    return torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@needs_bfloat16
def test_bfloat16_rounds_and_computes_the_same(small_xception, images):
    made = load_engine(small_xception, ENGINE, batch_size=3)
    with torch.no_grad():
        expected = small_xception.model(images)
    for count in (3, 4, 1):
        found = made(images[:count])
        error = (found - expected[:count]).abs().max() / expected.abs().max()
        # 8 bits give a few thousandths; less than 1e-4 would be float32
        assert 1e-4 < error < 0.02
    assert 1e-4 < made.facts.record["difference"] < 0.02


@needs_bfloat16
def test_bfloat16_tells_what_is_known_of_its_accuracy(tiny_xception):
    loaded = tiny_xception()
    made = load_engine(loaded, ENGINE)
    assert made.facts.note == (
        "bfloat16; its loss of accuracy is not measured yet: "
        "xception evaluate MODEL DATA --engine openvino-bf16"
    )
    figures = {"figure": "top1", "found": 0.75, "float32": 0.76, "images": 200, "data": "cats"}
    assert add_to_record(Path(made.facts.record["entry"]), {"accuracy": figures})
    told = load_engine(loaded, ENGINE).facts.note
    assert told == "bfloat16; top1 on 200 images of cats: 0.7500, float32 0.7600"


def test_bfloat16_is_refused_where_the_processor_has_none(tiny_xception, monkeypatch):
    monkeypatch.setattr(build, "cpu_flags", lambda: frozenset({"avx2", "avx512_vnni"}))
    with pytest.raises(InputError, match=r"AVX-512 BF16, AMX .*take --engine openvino$"):
        load_engine(tiny_xception(), ENGINE)


@needs_bfloat16
@pytest.mark.parametrize("broken", ["f32", "bf16"])
def test_a_bfloat16_conversion_that_computes_something_else_is_refused(
    tiny_xception, monkeypatch, broken
):
    """In float32 by more than rounding, in bfloat16 by more than ``BFLOAT16_TOLERANCE``."""
    run_openvino = build.run_openvino
    factor = {"f32": 1.001, "bf16": 1 + 2 * BFLOAT16_TOLERANCE}[broken]

    def wrongly(folder, threads, batch_size, precision="f32"):
        run = run_openvino(folder, threads, batch_size, precision)
        return (lambda images: factor * run(images)) if precision == broken else run

    loaded = tiny_xception()
    monkeypatch.setattr(build, "run_openvino", wrongly)
    with pytest.raises(RunFailedError, match="openvino-bf16 computes something else"):
        load_engine(loaded, ENGINE)
    kept = [path.name for folder in cache_folders(loaded.path) for path in folder.glob("*")]
    assert not [name for name in kept if not name.endswith(".lock")]
