"""The choice of configurations: fastest, remembered, pinned."""

import json

import pytest
import torch

from xception.kernels import (
    compilation,
    depthwise_launch,
    pointwise_backward_launch,
    pointwise_launch,
    pooling_launch,
    separable_launch,
    tuning,
)

CONFIGS = [{"B": 1}, {"B": 2}, {"B": 3}]


@pytest.fixture
def timed(monkeypatch, tmp_path):
    """A machine on which timing works and B=2 is the fastest; records what was timed."""
    calls = []

    def milliseconds(run):
        return run()

    def launch(config):
        if not compilation.collecting():
            calls.append(config["B"])
        return {1: 3.0, 2: 1.0, 3: 2.0}[config["B"]]

    monkeypatch.setenv("XCEPTION_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr(tuning, "_may_choose", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(tuning, "_milliseconds", milliseconds)
    monkeypatch.setattr(tuning, "cache_file", lambda: tmp_path / "cache.json")
    tuning.forget()
    yield launch, calls
    tuning.forget()


def test_fastest_is_chosen_once_per_shape(timed):
    launch, calls = timed
    assert tuning.choose("k", (4, True), CONFIGS, launch) == {"B": 2}
    assert tuning.choose("k", (4, True), CONFIGS, launch) == {"B": 2}
    assert calls == [1, 2, 3]
    tuning.choose("k", (8, True), CONFIGS, launch)
    assert calls == [1, 2, 3] * 2


def test_choice_survives_the_process(timed, tmp_path):
    launch, calls = timed
    tuning.choose("k", (4,), CONFIGS, launch)
    tuning.forget()
    assert tuning.choose("k", (4,), CONFIGS, launch) == {"B": 2}
    assert calls == [1, 2, 3]
    assert list(json.loads((tmp_path / "cache.json").read_text()).values()) == [{"B": 2}]


def test_choices_of_other_processes_are_kept(timed, tmp_path):
    launch, _ = timed
    (tmp_path / "cache.json").write_text(json.dumps({"other[1]": {"B": 9}}))
    tuning.choose("k", (4,), CONFIGS, launch)
    assert len(json.loads((tmp_path / "cache.json").read_text())) == 2


@pytest.mark.parametrize("content", ["", "[]", '{"k[4]": 3}', "{"])
def test_a_broken_cache_is_tuned_again(timed, tmp_path, content):
    launch, _ = timed
    (tmp_path / "cache.json").write_text(content)
    assert tuning.choose("k", (4,), CONFIGS, launch) == {"B": 2}


def test_a_cached_configuration_that_no_longer_exists_is_tuned_again(timed, tmp_path):
    launch, _ = timed
    (tmp_path / "cache.json").write_text(json.dumps({"k[4]": {"B": 9}}))
    assert tuning.choose("k", (4,), CONFIGS, launch) == {"B": 2}


def test_pinned_times_nothing(timed, monkeypatch):
    launch, calls = timed
    with tuning.pinned({"k": {"B": 7}}):
        assert tuning.choose("k", (4,), CONFIGS, launch) == {"B": 7}
        assert tuning.choose("other", (4,), CONFIGS, launch) == {"B": 1}
    assert calls == []


def test_a_configuration_that_fails_is_left_out(timed):
    def launch(config):
        if config["B"] == 2:
            raise RuntimeError("out of resource: shared memory")
        return float(config["B"])

    assert tuning.choose("k", (4,), CONFIGS, launch) == {"B": 1}


@pytest.mark.parametrize("words", tuning.STICKY)
def test_an_error_that_ends_the_gpu_is_not_taken_for_a_slow_configuration(timed, words):
    def launch(config):
        if config["B"] == 2:
            raise RuntimeError(f"Triton Error [CUDA]: an {words} was encountered")
        return float(config["B"])

    with pytest.raises(RuntimeError, match=words):
        tuning.choose("k", (4,), CONFIGS, launch)


def test_no_configuration_at_all_is_an_error(timed):
    def launch(config):
        raise RuntimeError("out of resource: shared memory")

    with pytest.raises(RuntimeError, match="no configuration of the kernel 'k'"):
        tuning.choose("k", (4,), CONFIGS, launch)


def test_a_full_memory_is_no_property_of_a_configuration(timed, tmp_path):
    # Left out, the fastest would be passed over for good, as the choice is kept.
    def launch(config):
        if config["B"] == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return float(config["B"])

    with pytest.raises(torch.OutOfMemoryError):
        tuning.choose("k", (4,), CONFIGS, launch)
    assert not (tmp_path / "cache.json").exists()


def test_all_candidates_are_compiled_before_the_first_is_timed(timed):
    events = []

    def launch(config):
        events.append((config["B"], compilation.collecting()))
        return float(config["B"])

    tuning.choose("k", (4,), CONFIGS, launch)
    assert events == [(b, compiled) for compiled in (True, False) for b in (1, 2, 3)]


def test_while_kernels_are_collected_nothing_is_timed_or_chosen(timed):
    launch, calls = timed
    with compilation.side_by_side():
        assert tuning.choose("k", (4,), CONFIGS, launch) == {"B": 1}
    assert calls == []
    assert tuning.choose("k", (4,), CONFIGS, launch) == {"B": 2}


def test_a_cuda_graph_captures_what_was_chosen_before_and_times_nothing(timed, monkeypatch):
    launch, calls = timed
    assert tuning.choose("k", (4,), CONFIGS, launch) == {"B": 2}
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert tuning.choose("k", (4,), CONFIGS, launch) == {"B": 2}
    assert tuning.choose("k", (8,), CONFIGS, launch) == {"B": 1}  # never seen: the safest
    assert calls == [1, 2, 3]


def test_a_small_batch_can_take_the_choice_of_a_large_one(timed):
    launch, calls = timed

    def run(images):
        return tuning.choose("k", (tuning.power_of_two(images * 9),), CONFIGS, launch)

    assert run(256) == {"B": 2}
    with tuning.as_if_larger(16):
        assert run(16) == {"B": 2}
    assert calls == [1, 2, 3]  # not timed again
    run(16)
    assert calls == [1, 2, 3] * 2


def test_sizes_of_channels_are_not_taken_for_larger_ones():
    # A tile of 2048 columns instead of 128 compiles for minutes.
    z = torch.empty(16, 64, 19, 19, device="meta")
    for candidates in (
        lambda: separable_launch.candidates(torch.bfloat16, 128),
        lambda: pointwise_launch.product_candidates(torch.bfloat16),
        lambda: pointwise_backward_launch.backward_candidates(torch.bfloat16, 64, 128),
        pooling_launch.pixel_candidates,
        pooling_launch.row_candidates,
    ):
        expected = candidates()
        with tuning.as_if_larger(16):
            assert candidates() == expected
    with tuning.as_if_larger(16):  # but those of a depthwise kernel are those of more images
        larger = depthwise_launch.forward_candidates(z)
    assert larger == depthwise_launch.forward_candidates(
        torch.empty(256, 64, 19, 19, device="meta")
    )


def test_environment_and_deterministic_mode_pin(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert tuning._may_choose()
    monkeypatch.setenv("XCEPTION_PIN_KERNELS", "1")
    assert not tuning._may_choose()
    monkeypatch.delenv("XCEPTION_PIN_KERNELS")
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert not tuning._may_choose()
