"""The parts of the Ray cluster that need no cluster: tensors, reservations, losses, calls."""

import pickle
import time
import types

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xception.distributed import ray_connection, ray_tensors
from xception.distributed.ray_calls import Calls, short_reason
from xception.distributed.ray_connection import reserve
from xception.distributed.ray_losses import Losses
from xception.distributed.ray_placement import Placement
from xception.distributed.settings import AsynchronousKeys
from xception.errors import InputError, RunFailedError

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool]


@given(
    shape=st.lists(st.integers(0, 5), max_size=3),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_ray_tensors_arrive_as_they_were(shape, dtype, seed):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3
    tensor = values.to(dtype)
    array, given_dtype = ray_tensors.pack(tensor)
    array.setflags(write=False)  # as Ray's shared memory is
    arrived = ray_tensors.unpack((array, given_dtype))
    assert arrived.dtype == dtype
    assert arrived.shape == tensor.shape
    assert torch.equal(arrived, tensor)


def test_a_slice_travels_without_the_rest_and_a_transposed_one_in_its_order():
    whole = torch.arange(1000.0).requires_grad_()
    packed = pickle.dumps(ray_tensors.pack(whole[10:20]))
    assert len(packed) < 1000  # 40 bytes of values; the whole would be 4000
    assert ray_tensors.unpack(pickle.loads(packed)).tolist() == list(range(10, 20))
    turned = torch.arange(6.0).view(2, 3).T
    assert torch.equal(ray_tensors.unpack(ray_tensors.pack(turned)), turned)


def test_two_empty_tensors_of_different_types_can_be_saved_together(tmp_path):
    array = torch.zeros(0).numpy()
    empties = [ray_tensors.unpack((array.view(t), d)) for t, d in (("f4", torch.float32),)]
    empties.append(ray_tensors.unpack((array.astype("i8"), torch.int64)))
    torch.save(empties, tmp_path / "empties")
    assert [t.dtype for t in torch.load(tmp_path / "empties")] == [torch.float32, torch.int64]


class SmallCluster:
    """What Ray says of a cluster, and a reservation that finds no place."""

    @staticmethod
    def cluster_resources():
        return {"CPU": 4.5, "GPU": 1.0}


def test_a_reservation_adds_up_unlike_bundles():
    bundles = [{"CPU": 1.5, "GPU": 1.0}, {"CPU": 1.5, "GPU": 1.0}, {"CPU": 0.5}]
    with pytest.raises(InputError) as error:
        reserve(SmallCluster, bundles, asked="2 workers and 1 server", advice="ask for less")
    assert str(error.value) == (
        "the Ray cluster has 4.5 CPU, 1 GPU; for 2 workers and 1 server it needs 3.5 CPU, 2 GPU; "
        "ask for less"
    )


def test_a_reservation_that_others_hold_is_not_waited_for_for_ever(monkeypatch):
    removed = []
    group = types.SimpleNamespace(wait=lambda seconds: False)
    util = types.ModuleType("ray.util")
    util.placement_group = lambda bundles, strategy: group
    util.remove_placement_group = removed.append
    monkeypatch.setitem(__import__("sys").modules, "ray.util", util)
    with pytest.raises(InputError, match=r"found no place within 0 s .*; ask for less"):
        reserve(SmallCluster, [{"CPU": 4.0}], asked="1 worker", advice="ask for less", seconds=0)
    assert removed == [group]


def test_processes_that_ask_for_nothing_reserve_nothing():
    keys = AsynchronousKeys(workers=3, shards=2, cpus_per_worker=0)
    pytest.importorskip("ray")
    placement = Placement(SmallCluster, keys)
    assert placement.worker(2)["scheduling_strategy"] == "SPREAD"
    assert placement.server(0)["num_cpus"] == 0


@pytest.mark.parametrize("of", ["worker", "server"])
def test_nothing_is_restarted_or_repeated_by_ray_itself(of):
    pytest.importorskip("ray")
    keys = AsynchronousKeys(workers=1, cpus_per_worker=0)
    options = getattr(Placement(SmallCluster, keys), of)(0)
    assert options["max_restarts"] == options["max_task_retries"] == 0


def test_losses_end_a_run_by_their_number():
    losses = Losses(most=2)
    losses.add("worker 0", "killed")
    losses.add("worker 1", "killed")
    with pytest.raises(RunFailedError, match=r"worker 2 was lost \(gone\), and .* allows for 2"):
        losses.add("worker 2", "gone")


def test_losses_of_one_process_without_an_update_between_end_a_run():
    losses = Losses(most=100)
    for _ in range(5):  # an update between
        losses.add("worker 0", "killed")
        losses.add("server 0", "killed")
        losses.has_updated("worker 0")
    losses.add("worker 0", "a")
    losses.add("worker 0", "b")
    losses.has_updated("worker 1")  # another's update says nothing of worker 0
    with pytest.raises(RunFailedError, match=r"worker 0 was lost 3 times .* time: c"):
        losses.add("worker 0", "c")


class Finished:
    """Ray with some references that are ready."""

    def __init__(self, *ready):
        self.ready = ready

    def wait(self, refs, num_returns, timeout):
        ready = [ref for ref in refs if ref in self.ready][:num_returns]
        return ready, [ref for ref in refs if ref not in ready]


def test_a_call_is_overdue_after_its_limit_unless_its_result_waits_to_be_taken():
    calls = Calls(Finished("done"))
    calls.add("done", 0, print, limit=0.01)
    calls.add("hanging", 1, print, limit=0.01)
    calls.add("patient", 2, print, limit=10)
    calls.add("free", 3, print, limit=None)
    assert calls.overdue() == {}
    time.sleep(0.02)
    assert calls.overdue() == {1: 0.01}
    calls.begin_anew()
    assert calls.overdue() == {}


def test_calls_of_a_lost_worker_are_forgotten_and_others_go_on():
    calls = Calls(Finished("a", "b", "end"))
    calls.add("a", 0, print, None)
    calls.add("b", 1, print, None)
    calls.forget(0)
    ref, call = calls.next(0, ["end"])
    assert (ref, call) == ("end", None)
    ref, call = calls.next(0, [])
    assert (ref, call.worker) == ("b", 1)
    assert calls.next(0, []) is None


def test_the_reason_of_a_death_is_short():
    error = RuntimeError(
        "The actor died unexpectedly before finishing this task.\n\tclass_name: WorkerProcess\n"
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR "
        "Worker exit detail: " + "x" * 1000
    )
    assert short_reason(error) == "its worker process has died"
    assert len(short_reason(RuntimeError("y" * 1000))) == 160


def test_a_local_cluster_gets_a_token_of_its_own_and_loopback(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray_connection._close_to_others()
    import os

    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(bytes.fromhex(token)) == 32
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    ray_connection._close_to_others()
    assert os.environ["RAY_AUTH_TOKEN"] == token  # a second cluster of this process
    monkeypatch.undo()
