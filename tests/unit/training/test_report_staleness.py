"""The report of an asynchronous run: the histogram in numbers and bars."""

import re

import pytest

from xception.training.report_staleness import ROWS_SHOWN, staleness

TOLD = {
    "engine": "simulator",
    "workers": 4,
    "shards": 2,
    "mean_staleness": 2.25,
    "staleness": {"0": 1, "3": 3},
    "counts": {"dropped": 7, "<lost>": 1},
}


def test_every_staleness_has_its_updates_and_share():
    page = staleness({"asynchronous": TOLD})
    cells = re.findall(r">([^<>]+)</(?:th|td|span|p)>|>([\d.,]+ %)<", page)
    told = [one or other for one, other in cells]
    assert told[-6:] == ["0", "1", "25.0 %", "3", "3", "75.0 %"]
    assert re.findall(r"width:([\d.]+)%", page) == ["25.0", "75.0"]
    assert "4 workers, 2 shards; mean staleness 2.25." in page
    assert "dropped: 7, &lt;lost&gt;: 1" in page
    alone = staleness({"asynchronous": TOLD | {"workers": 1, "shards": 1}})
    assert "1 worker, 1 shard; mean" in alone


@pytest.mark.parametrize(
    "training",
    [None, {}, {"asynchronous": None}, {"asynchronous": {"staleness": {"0": "many"}}}, 3],
)
def test_a_synchronous_or_damaged_run_has_no_such_section(training):
    assert staleness(training) == ""


def test_a_long_histogram_is_cut():
    many = {str(late): 1 for late in range(ROWS_SHOWN + 20)}
    page = staleness({"asynchronous": TOLD | {"staleness": many}})
    assert page.count("<tr>") == ROWS_SHOWN + 1
    assert "and 20 more, in staleness.csv" in page
