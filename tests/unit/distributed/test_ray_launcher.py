"""The Ray launcher's arguments, and what becomes of a worker's failure; no cluster is started."""

import pytest

from xception.cli.launchers import _split
from xception.distributed.ray_launcher import Resources, _told, require_resources
from xception.errors import InputError, RunFailedError


class SmallCluster:
    """Two machines' worth of what Ray says of itself."""

    @staticmethod
    def cluster_resources():
        return {"CPU": 4.0, "GPU": 1.0, "memory": 1e9}


@pytest.mark.parametrize("numbers", [(0, 1, 0), (1, 0, 0), (1, 1, 2), (1, 1, -1)])
def test_numbers_out_of_range_are_refused(numbers):
    with pytest.raises(InputError):
        Resources(*numbers)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Resources(3, cpus=2), "the Ray cluster has 4 CPU; for 3 workers it needs 6 CPU; ask"),
        (Resources(2, gpus=1), "has 4 CPU, 1 GPU; for 2 workers it needs 2 CPU, 2 GPU; ask"),
    ],
)
def test_fewer_resources_than_asked_for_are_told_at_once(wanted, message):
    with pytest.raises(InputError, match=message):
        require_resources(SmallCluster, wanted)


class Failed(Exception):
    def __init__(self, failures):
        super().__init__("workers failed")
        self.worker_failures = failures


def test_a_workers_own_sentence_is_told():
    told = _told(Failed({1: ConnectionError("lost"), 0: RunFailedError("the loss became nan")}))
    assert isinstance(told, RunFailedError)
    assert str(told) == "the loss became nan"
    told = _told(Failed({0: InputError("there is no folder images")}))
    assert isinstance(told, InputError)
    assert "lost" in str(_told(Failed({0: ConnectionError("lost")})))


def test_options_of_the_launcher_are_told_from_keys_of_the_recipe():
    words = ["--workers", "2", "--data.batch_size", "8", "--seed", "3", "--ray-address=auto"]
    own, keys = _split(words)
    assert own == ["--workers", "2", "--ray-address=auto"]
    assert keys == ["--data.batch_size", "8", "--seed", "3"]
