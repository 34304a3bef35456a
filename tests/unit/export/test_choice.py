import itertools
import shutil
import time

import pytest
import torch

from xception.errors import RunFailedError
from xception.export import choice
from xception.export.cache import cache_folders
from xception.export.choice import choose_engine, time_engines
from xception.export.engine import Engine, EngineFacts


class Clock:
    """A stand-in for the clock: an engine's call takes what it says, the one before it 7 s."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(choice.time, "perf_counter", lambda: self.now)

    def engine(self, *seconds):
        calls = iter([taken for pair in zip(itertools.repeat(7.0), seconds) for taken in pair])
        more = itertools.cycle([7.0, seconds[-1]])

        def run(images):
            self.now += next(calls, None) or next(more)
            return torch.zeros(len(images), 2)

        return Engine(run, 8, EngineFacts("torch", 1), num_classes=5)


def test_time_engines_gives_medians_without_the_call_before(monkeypatch):
    monkeypatch.setattr(choice, "MOST_SECONDS", 1000)
    clock = Clock(monkeypatch)
    engines = {"a": clock.engine(1.0, 1.1, 50.0, 1.1), "b": clock.engine(1.2)}
    assert time_engines(engines, 3) == pytest.approx({"a": 1.1, "b": 1.2})


def test_time_engines_stops_with_the_hopeless(monkeypatch):
    monkeypatch.setattr(choice, "MOST_SECONDS", 1000)
    clock = Clock(monkeypatch)
    calls = []
    engines = {"fast": clock.engine(0.1), "slow": clock.engine(0.2)}
    for name, engine in engines.items():
        engine.register_forward_hook(lambda *_, name=name: calls.append(name))
    assert time_engines(engines, 1) == pytest.approx({"fast": 0.1, "slow": 0.2})
    assert calls.count("slow") == 2 * 2  # two rounds
    assert calls.count("fast") == 2 * choice.MOST_ROUNDS


def test_time_engines_ends_after_a_while(monkeypatch):
    clock = Clock(monkeypatch)
    time_engines({"a": clock.engine(10.0), "b": clock.engine(10.0)}, 1)
    assert clock.now == pytest.approx(3 * 2 * (7.0 + 10.0))


@pytest.fixture
def timed(monkeypatch):
    """Timings as told; returns the list of (batch size) that were asked for."""
    asked = []

    def set_timings(**seconds):
        def time_engines(engines, batch_size):
            asked.append(batch_size)
            return {name: seconds[name] for name in engines}

        monkeypatch.setattr(choice, "time_engines", time_engines)
        return asked

    monkeypatch.setattr(
        choice, "_NEEDS", {"torch": [], "onnxruntime": ["onnxruntime"], "openvino": ["openvino"]}
    )
    return set_timings


@pytest.mark.parametrize("fastest", ["torch", "onnxruntime", "openvino"])
def test_auto_takes_the_fastest(converted, timed, fastest):
    for library in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(library)
    loaded = converted
    for remembered in cache_folders(loaded.path)[0].glob("auto-*"):
        shutil.rmtree(remembered)
    timed(**({"torch": 2.0, "onnxruntime": 2.0, "openvino": 2.0} | {fastest: 1.0}))
    made = choose_engine(loaded, 2, 1)
    assert made.facts.name == fastest
    assert made.facts.note.startswith(
        f"auto chose {fastest}; ms per image in batches of 2 by 1 threads: {fastest} 500.0, "
    )
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():  # as in test_engines
        torch.testing.assert_close(made(images), loaded.model(images), rtol=1e-4, atol=1e-4)


def test_auto_remembers_its_choice_for_batch_size_threads_and_processor(
    tiny_xception, timed, monkeypatch
):
    monkeypatch.setattr(choice, "_NEEDS", {"torch": []})
    loaded = tiny_xception()
    asked = timed(torch=1.0)
    choose_engine(loaded, 2, 1)
    assert choose_engine(loaded, 2, 1).facts.record["seconds"] == {"torch": 1.0}
    assert asked == [2]
    choose_engine(loaded, 3, 1)
    choose_engine(loaded, 3, 2)
    monkeypatch.setattr(choice, "processor_name", lambda: "another")
    choose_engine(loaded, 3, 2)
    assert asked == [2, 3, 3, 3]
    choose_engine(loaded, 32, 1)
    choose_engine(loaded, 64, 1)  # both are timed as batches of eight
    assert asked[4:] == [8]


def test_auto_passes_over_an_engine_that_fails(tiny_xception, timed, monkeypatch):
    loaded = tiny_xception()
    timed(torch=1.0)
    real = choice.build_engine

    def build(loaded, name, batch_size, threads):
        if name != "torch":
            raise RunFailedError(f"the model can't be converted for {name}")
        return real(loaded, name, batch_size, threads)

    monkeypatch.setattr(choice, "build_engine", build)
    assert choose_engine(loaded, 1, 1).facts.name == "torch"


def test_auto_really_times_the_engines(converted):
    began = time.perf_counter()
    made = choose_engine(converted, 1, 1)
    seconds = made.facts.record["seconds"]
    assert made.facts.name == min(seconds, key=seconds.get)
    assert all(0 < value < time.perf_counter() - began for value in seconds.values())
