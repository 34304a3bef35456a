"""Containers with little shared memory or none, told before a loader hangs on it."""

import os

import pytest

from xception.data import loader_processes, shared_memory
from xception.data.loader_processes import processes_for
from xception.data.loading import EvaluationLoader
from xception.data.preprocessing import Preprocessing
from xception.data.shared_memory import processes_that_fit, require_shared_memory
from xception.errors import InputError

MB = 1_000_000


@pytest.fixture
def free(monkeypatch):
    """Sets the free shared memory, in bytes."""

    def put(number):
        monkeypatch.setattr(shared_memory, "_free_bytes", lambda: number)

    return put


def test_each_process_holds_two_batches_and_the_consumer_one(free):
    free(64 * MB)
    require_shared_memory(3, 9 * MB)  # 7 batches of 9 MB: 63
    with pytest.raises(
        InputError, match=r"3, the processes need 70\.0 MB .* has 64\.0 MB free; take"
    ):
        require_shared_memory(3, 10 * MB)
    with pytest.warns(
        UserWarning, match=r"loader processes: 2 instead of 3, since .* 64\.0 MB free"
    ):
        assert processes_that_fit(3, 10 * MB) == 2  # 5 batches: 50
    with pytest.warns(UserWarning, match="0 instead of 3"):
        assert processes_that_fit(3, 50 * MB) == 0
    assert processes_that_fit(3, 9 * MB) == 3


def test_devices_share_the_memory_and_the_cores(free, monkeypatch):
    monkeypatch.setattr(loader_processes, "cpu_cores", lambda: 8)
    photographs = [None] * 3  # not held in memory
    free(70 * MB)
    by = {"wanted": "auto", "batch_bytes": 5 * MB}
    with pytest.warns(UserWarning, match="6 instead of 8"):
        assert processes_for(photographs, devices=1, **by) == 6  # 13 batches: 65 MB
    with pytest.warns(UserWarning, match="3 instead of 4"):
        assert processes_for(photographs, devices=2, **by) == 3  # 7 batches on each of 2 devices


def test_none_at_all_leaves_the_main_process(free):
    free(0)
    require_shared_memory(0, 9 * MB)
    with pytest.raises(InputError, match="can't be written; take fewer processes"):
        require_shared_memory(1)
    with pytest.warns(UserWarning, match="0 instead of 8"):
        assert processes_that_fit(8, MB) == 0


def test_a_system_without_such_a_place_is_not_judged(free):
    free(None)
    require_shared_memory(8, 1 << 40)
    assert processes_that_fit(8, 1 << 40) == 8


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="Linux has it")  # noqa: PTH112
def test_the_free_memory_is_the_systems_own():
    found = os.statvfs("/dev/shm")
    assert 0 < shared_memory._free_bytes() <= found.f_blocks * found.f_frsize


def test_a_loader_asks_before_it_starts_a_process(free):
    from xception.data.digits import open_digits

    free(2 * 100 * 3 * 32 * 32)  # two batches; one process needs three
    digits, how = open_digits("evaluation"), Preprocessing(size=32)
    EvaluationLoader(digits, how, batch_size=100)
    with pytest.raises(InputError, match=r"the processes need 0\.9 MB of shared memory"):
        EvaluationLoader(digits, how, batch_size=100, num_workers=1)
