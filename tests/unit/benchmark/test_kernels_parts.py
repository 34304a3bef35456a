"""The kernel benchmark's rows of networks: failures stay in their row, a second run goes on."""

import gc
import math
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from xception.benchmark import kernels_check, kernels_parts
from xception.benchmark.kernels_cases import Case
from xception.benchmark.kernels_models import ANCHOR, NAMES, inference_step
from xception.benchmark.kernels_record import Record
from xception.benchmark.kernels_timing import Contender, require_gpu, time_interleaved, warm_up
from xception.errors import RunFailedError

MACHINE = SimpleNamespace(
    cuda=False, rounds=3, steps=2, compile_modes=["default"], check_batch=2, check_factor=1
)


@pytest.fixture
def record(tmp_path):
    return lambda **options: Record(tmp_path / "x.json", {"device": "d", "batch": 2}, **options)


class Networks:
    """Builds steps that do nothing; records what was built; some fail."""

    def __init__(self, fail_to_build=(), fail_to_run=(), verdict="", wrong=""):
        self.built, self.verdict, self.wrong = [], verdict, wrong
        self.fail_to_build, self.fail_to_run = fail_to_build, fail_to_run

    def make(self, name, mode):
        self.built.append((name, mode))
        if name in self.fail_to_build:
            raise ModuleNotFoundError("No module named 'timm'")

        def step():
            if name in self.fail_to_run:
                raise torch.OutOfMemoryError("CUDA out of memory")

        return step

    def time(self, record):
        steps = (self.make, lambda: lambda: None)
        kernels_parts._time_networks(
            MACHINE, record, "training", 2, *steps, self.verdict, lambda: self.wrong
        )
        return {row["name"]: row for row in record.figures.get("training", [])}


def test_a_network_that_fails_costs_its_own_row_only(record):
    networks = Networks(fail_to_build=["timm legacy_xception"], fail_to_run=["timm inception_v3"])
    rows = networks.time(record())
    assert len(rows) == 2 * len(NAMES)
    assert rows["timm legacy_xception, eager"]["failure"].startswith("ModuleNotFoundError")
    assert rows["timm inception_v3, eager"]["failure"] == "OutOfMemoryError: CUDA out of memory"
    for name in ("ours, plain, eager", "ours, fused, compiled default"):
        assert rows[name]["failure"] == ""
        assert len(rows[name]["milliseconds"]) == MACHINE.rounds
        assert rows[name]["anchor_milliseconds"] > 0


def test_a_second_run_times_what_is_lacking_beside_the_anchor(record):
    first = Networks()
    first.time(record(wanted=["ours", "timm inception_v3, eager"]))
    second = Networks()
    rows = second.time(record())
    assert second.built == [
        ("ours, plain", ""),  # the anchor, again
        ("timm legacy_xception", ""),
        ("timm legacy_xception", "default"),
        ("timm inception_v3", "default"),
    ]
    assert len(rows) == 2 * len(NAMES)
    third = Networks()
    third.time(record())
    assert third.built == []


def test_when_the_time_is_over_nothing_is_built(record):
    networks = Networks()
    late = record(minutes=-1)
    assert networks.time(late) == {}
    assert networks.built == []
    assert f"training: {ANCHOR}" in late.left_out


def test_a_stop_while_a_network_compiles_keeps_those_before_it(record):
    # Stopped like by a signal, in the third network: the first two have a first round on the disk.
    networks = Networks()
    build = networks.make

    def make(name, mode):
        if len(networks.built) == 2:
            raise KeyboardInterrupt
        return build(name, mode)

    networks.make = make
    with pytest.raises(KeyboardInterrupt):
        networks.time(record())
    rows = record().figures["training"]
    assert [row["name"] for row in rows] == ["ours, plain, eager", "ours, fused, eager"]
    assert all(len(row["milliseconds"]) == 1 for row in rows)


def test_a_fused_network_that_computes_something_wrong_is_not_timed(record):
    rows = Networks(wrong="wrong logits, error 0.5").time(record())
    assert rows["ours, fused, eager"]["failure"] == "wrong logits, error 0.5"
    assert rows["ours, fused, compiled default"]["failure"] == "wrong logits, error 0.5"
    assert rows["ours, plain, eager"]["failure"] == ""


def test_after_failed_checks_the_fused_network_is_not_even_built(record):
    networks = Networks(verdict="wrong in the checks: pool")
    rows = networks.time(record())
    assert ("ours, fused", "") not in networks.built
    assert rows["ours, fused, compiled default"]["failure"] == "wrong in the checks: pool"
    assert rows["timm inception_v3, eager"]["failure"] == ""


def test_a_gpu_that_is_lost_ends_the_run_with_its_row_and_no_other(record, monkeypatch):
    def lost():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(kernels_parts, "require_gpu", lambda cuda: require_gpu(True))
    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    with pytest.raises(RunFailedError, match="goes on with the row after"):
        Networks(fail_to_run=["ours, fused"]).time(record())
    rows = record().figures["training"]
    assert [(row["name"], bool(row["failure"])) for row in rows] == [
        ("ours, plain, eager", False),
        ("ours, fused, eager", True),
    ]


def test_what_an_earlier_check_found_stands(record):
    found = record()
    found.put("checks", {"name": "pool", "error": math.inf, "allowed": 0.03})
    found.put("checks", {"name": "logits", "error": 0.01, "allowed": 0.02})
    assert kernels_check.check(MACHINE, record()) == "wrong in the checks: pool"
    found.put("checks", {"name": "pool", "error": 0.01, "allowed": 0.03})
    assert kernels_check.check(MACHINE, record()) == ""


def test_a_contender_that_fails_in_a_round_leaves_the_rounds():
    calls = []

    def run():
        calls.append(1)
        if len(calls) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")

    good, bad = Contender("good", lambda: None), Contender("bad", run)
    for contender in (good, bad):
        warm_up(contender, steps=1, cuda=False)
    assert bad.failure == ""
    time_interleaved([bad, good], rounds=4, steps=1, cuda=False)
    assert bad.failure == "OutOfMemoryError: CUDA out of memory"
    assert len(good.milliseconds) == 4


def test_a_cuda_graph_keeps_what_it_reads(monkeypatch):
    # A graph holds addresses, not tensors: freed, its weights would be given to others.
    captured = []

    class Graph:
        def replay(self):
            captured.append("replay")

    @contextmanager
    def graph(into):
        captured.append(into)
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    seen = {}

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, images):
            seen["images"], out = weakref.ref(images), self.layer(images)
            seen["logits"] = weakref.ref(out)
            return out

    def build():
        model = Network()
        seen["weight"] = weakref.ref(model.layer.weight)
        return inference_step(model, torch.zeros(1, 2), "", graph=True)

    run = build()
    gc.collect()
    assert all(reference() is not None for reference in seen.values())
    run()
    assert captured[-1] == "replay"
    del run
    gc.collect()
    assert all(reference() is None for reference in seen.values())


def test_a_forward_case_is_checked_without_its_backward_kernels():
    # They would be tuned on the check's few images, and the choice kept for many.
    ran = []

    def fused(x):
        ran.append(torch.is_grad_enabled())
        return (x * 2.01,)

    inputs = [torch.randn(3, 3)]
    for backward in (False, True):
        case = Case("k", "s", 1, 1.0, 0.0, fused, lambda x: (x * 2,), inputs, backward)
        assert case.relative_error() == pytest.approx(0.005, rel=1e-3)
    assert ran == [False, True]


def test_errors_that_cannot_be_measured_count_as_wrong(record):
    def fail():
        raise RuntimeError("no configuration of the kernel 'k' runs here")

    assert kernels_check._error(fail, record()) == math.inf
