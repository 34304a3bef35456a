"""Asynchronous training on Ray, with real kills, in a network namespace with loopback only.

What happens in each scenario stands in ``ray_scenarios.py``, why parameters count the uses of the
images in ``ray_counting.py``; all share one Ray cluster.
"""

import json
import re
from pathlib import Path

import pytest
from loopback import needs_namespace, run_alone

from xception.data.order import epoch_order

pytest.importorskip("ray")
pytestmark = [needs_namespace, pytest.mark.slow]
SCENARIOS = Path(__file__).with_name("ray_scenarios.py")
STEPS_PER_EPOCH, BATCH, IMAGES, SEED = 29, 48, 1437, 0


def perform(folder, *names, **more):
    code, told = run_alone([str(SCENARIOS), str(folder), *names], folder / "log", **more)
    assert code == 0, told
    found = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    return {result["scenario"]: result for result in found}, told


@pytest.fixture(scope="module")
def performed(tmp_path_factory):
    return perform(tmp_path_factory.mktemp("ray"), "workers", "servers", "twice", "simulated")


def uses(epochs):
    """How often each image is used: the order of each epoch, up to its last whole batch."""
    expected = [0] * IMAGES
    for epoch in range(epochs):
        order = epoch_order(IMAGES, SEED, epoch)
        for place in range(STEPS_PER_EPOCH * BATCH):
            expected[int(order[place])] += 1
    return expected


def test_ray_workers_that_die_or_hang_lose_no_sample_and_come_back(performed):
    result = performed[0]["workers"]
    assert result["uses"] == uses(epochs=2)
    assert result["versions"] == [58, 58]
    # Killed by its pid; dead in the middle of a push; stopped after lease_seconds.
    assert result["counts"]["lost workers"] == 3
    assert 2 <= result["counts"]["lost leases"] <= 3
    batches = {int(pid): numbers for pid, numbers in result["batches"].items()}
    assert len(batches) == 5  # two, and one for each that was lost
    for pid in result["alive"]:
        assert max(batches[pid]) >= 28, "a worker that came back works"
    assert result["killed"] not in result["alive"]
    assert sum(result["staleness"].values()) == 58
    assert 0 < result["mean_staleness"] <= 1  # of two workers


def test_a_push_that_half_arrived_on_ray_counts_once(performed):
    result = performed[0]["workers"]
    takers = [numbers for numbers in result["batches"].values() if 12 in numbers]
    assert len(takers) == 2  # computed again by another process
    assert result["refused"][0]["duplicate"] >= 1  # the first server knew it, the second did not
    assert result["uses"] == uses(epochs=2)


def test_a_nan_loss_on_ray_is_refused_counted_and_computed_again(performed):
    result = performed[0]["workers"]
    assert result["counts"]["refused"] == 1
    numbers = [n for numbers in result["batches"].values() for n in numbers]
    assert numbers.count(18) == 2


def test_ray_servers_that_die_or_hang_go_back_to_one_version_with_a_bounded_loss(performed):
    results, told = performed
    result = results["servers"]
    assert result["uses"] == uses(epochs=1)
    assert result["versions"] == [29, 29]
    assert result["counts"]["lost servers"] == 2
    assert "lost workers" not in result["counts"]
    lost = re.findall(
        r"step (\d+): server (\d) died \([^)]+\); all servers are back at the snapshot of step "
        r"(\d+): (\d+) updates? lost",
        told,
    )
    assert [(server, step) for _, server, step, _ in lost] == [("1", "10"), ("0", "20")]
    for before, _, step, count in lost:
        # Killed at step 16 and stopped at 24; at the next snapshot it is known at the latest.
        assert int(count) == int(before) - int(step) <= 10
    assert result["counts"]["updates lost with servers"] == sum(int(c) for *_, c in lost)


def test_a_gradient_that_is_pushed_twice_through_ray_counts_once(performed):
    result = performed[0]["twice"]
    assert result["verdicts"] == [["applied"] * 2, ["duplicate"] * 2]
    assert result["versions"] == [1, 1]
    order = epoch_order(IMAGES, SEED, 0)
    first = {int(order[place]) for place in range(BATCH)}
    assert result["uses"] == [float(image in first) for image in range(IMAGES)]


def test_nan_wrong_shapes_and_versions_are_refused_by_a_server_on_ray(performed):
    refused = performed[0]["twice"]["refused"]
    assert refused == ["not finite", "wrong shape", "wrong version", "wrong version"]


def test_one_worker_on_ray_is_the_simulator_bit_by_bit(performed):
    assert performed[0]["simulated"]["equal"] == [True] * 3  # weights, statistics, counters


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("closed")
    return perform(folder, "ports", "mistakes", has_network=True)[0]


def test_a_local_ray_cluster_listens_on_loopback_and_asks_everybody_for_the_token(closed):
    told = closed["ports"]["told"]
    # Ray's control server, its node daemon twice and environment agent, the driver, four processes.
    assert len(told) >= 9
    for place, (without, wrong, right) in told.items():
        assert re.search(r" (\[::ffff:127\.0\.0\.1\]|127\.0\.0\.1):\d+$", place), place
        assert without in (["UNAUTHENTICATED"], ["401"]), place
        assert wrong in (["UNAUTHENTICATED"], ["403"]), place
        assert right in (["OK"], ["200"]), place


def test_the_token_of_a_local_ray_cluster_stands_in_no_file_and_no_command(closed):
    assert closed["ports"]["token in files"] == []
    assert closed["ports"]["token in commands"] is False
    assert closed["ports"]["mode"] == "0o700"


def test_mistakes_that_show_on_ray_are_one_sentence(closed):
    mistake, failure, lacking = closed["mistakes"]["told"]
    assert mistake[:2] == ["InputError", "there is no folder images; name another with data.path"]
    assert failure[0] == "RunFailedError"
    assert failure[1] == (
        "worker 0 was lost 3 times without an update between; the last time: OSError: the disk is "
        "full of holes"
    )
    assert lacking[0] == "InputError"
    assert lacking[1].endswith(
        " CPU; for 1 worker it needs 1,000 CPU; lower asynchronous.workers or "
        "asynchronous.cpus_per_worker, or add machines to the cluster"
    )
    assert lacking[2] < 10
