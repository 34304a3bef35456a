"""The kernel benchmark keeps every row at once, goes on from what is there, and ends in time."""

import json

import pytest

from xception.benchmark import kernels_record
from xception.benchmark.kernels_record import Record
from xception.benchmark.kernels_tables import report
from xception.errors import InputError

HEADING = {"device": "GPU", "batch": 256, "command": "c", "date": "d", "versions": "v"}
HEADING |= {"bytes_per_second": 3e12, "flop_per_second": 7e14}


def record(tmp_path, **options):
    return Record(tmp_path / "x.json", HEADING, **options)


def test_a_row_is_on_the_disk_as_soon_as_it_is_put(tmp_path):
    tables = []
    first = record(tmp_path, render=lambda figures: tables.append(json.dumps(figures)))
    first.put("t", {"name": "a", "milliseconds": 1})
    assert json.loads((tmp_path / "x.json").read_text())["t"] == [{"name": "a", "milliseconds": 1}]
    assert json.loads(tables[-1])["t"][0]["milliseconds"] == 1
    first.put("t", {"name": "b", "milliseconds": 2})
    first.put("t", {"name": "a", "milliseconds": 3})
    rows = json.loads((tmp_path / "x.json").read_text())["t"]
    assert [(row["name"], row["milliseconds"]) for row in rows] == [("a", 3), ("b", 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]  # no half-written file


def test_another_run_measures_only_what_is_lacking(tmp_path):
    record(tmp_path).put("t", {"name": "a"})
    second = record(tmp_path)
    assert not second.next("t", "a")
    assert second.next("t", "b")
    assert second.next("other", "a")
    assert record(tmp_path, again=True).next("t", "a")
    assert second.left_out == []


def test_only_wanted_rows_are_measured(tmp_path):
    chosen = record(tmp_path, wanted=["depthwise", "training, batch 256: ours"])
    assert chosen.next("kernels", "depthwise, 19x19")
    assert chosen.next("training, batch 256", "ours, fused")
    assert not chosen.next("training, batch 256", "timm")
    assert not chosen.next("inference, batch 1", "ours, fused")


def test_no_row_is_begun_after_the_minutes(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(kernels_record.time, "monotonic", lambda: now[0])
    timed = record(tmp_path, minutes=2)
    now[0] += 119
    assert timed.next("t", "a")
    now[0] += 2
    assert timed.late()
    assert timed.lacks("t", "b")
    assert not timed.next("t", "b")
    assert timed.left_out == ["t: b"]


def test_figures_of_another_gpu_or_batch_are_not_mixed(tmp_path):
    record(tmp_path)
    for change in ({"device": "other"}, {"batch": 64}):
        with pytest.raises(InputError, match=f"was measured with {next(iter(change))}"):
            Record(tmp_path / "x.json", HEADING | change)


def test_when_the_kernels_have_changed_their_rows_are_measured_again(tmp_path):
    first = Record(tmp_path / "x.json", HEADING | {"sources": "old"})
    first.put("checks", {"name": "logits"})
    first.put("kernels, batch 256", {"name": "pool, 19x19, 1024"})
    for name in ("ours, fused, eager", "timm inception_v3, eager"):
        first.put("training, batch 256", {"name": name})
    second = Record(tmp_path / "x.json", HEADING | {"sources": "new"})
    assert "checks" not in second.figures
    assert second.lacks("kernels, batch 256", "pool, 19x19, 1024")
    assert second.lacks("training, batch 256", "ours, fused, eager")
    assert not second.lacks("training, batch 256", "timm inception_v3, eager")
    assert second.figures["device"] == "GPU"


@pytest.mark.parametrize("content", ["", "[]", '{"device"'])
def test_a_file_of_something_else_is_left_alone(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match="not a file of this benchmark"):
        record(tmp_path)
    assert (tmp_path / "x.json").read_text() == content


def network(name, milliseconds, anchor, failure=""):
    return {
        "name": name,
        "milliseconds": milliseconds,
        "anchor_milliseconds": anchor,
        "images_per_second": None if failure else 256e3 / milliseconds[0],
        "peak_gib": 1.0,
        "failure": failure,
    }


def test_rows_of_two_runs_are_compared_by_the_anchor_that_both_timed():
    # In the first run the machine was half as fast: fused took 60 ms beside an anchor of 120, the
    # peers 50 and 40 ms beside one of 60. So fused is 2 anchors, the peers 1.2 and 1.5.
    table = [
        network("ours, plain, eager", [60.0], 60.0),
        network("ours, fused, compiled default", [60.0], None),  # without an anchor no speed
        network("ours, fused, eager", [60.0], 120.0),
        network("timm legacy_xception, eager", [50.0], 60.0),
        network("timm inception_v3, eager", [40.0], 60.0),
        network("timm inception_v3, compiled default", [], 60.0, "OutOfMemoryError: CUDA"),
    ]
    text = report(HEADING | {"training, batch 256": table})
    assert "1.67 times timm's legacy_xception" in text  # 2 / 1.2
    assert "1.33 times eager Inception V3" in text  # 2 / 1.5
    assert "1.33 times Inception V3" in text  # the compiled one failed
    assert "2.00 times our plain layers" in text
    assert "| timm inception_v3, compiled default | OutOfMemoryError: CUDA |" in text


def test_sums_count_a_kernel_as_often_as_a_step_runs_it():
    row = {"name": "k", "kernel": "k", "a_step": 25, "summed": True, "failure": "", "error": 1e-3}
    row |= {"milliseconds": 0.5, "plain_milliseconds": None, "floor_milliseconds": 0.25}
    row |= {"gigabytes_per_second": 1, "teraflop_per_second": 1, "of_copy": 0.5, "of_matrix": 0}
    other = row | {"name": "alternative", "summed": False}
    failed = {"name": "f", "a_step": 1, "summed": True, "failure": "out of memory"}
    text = report(HEADING | {"kernels, batch 256": [row, other, failed]})
    assert "12.5 ms; floor 6.2 ms" in text
    assert "1 failed" in text
    assert "| f | 1 | out of memory |" in text
