"""Polyak averaging against the recurrence done by hand."""

import pytest
import torch
from torch import nn

from xception.training.polyak import PolyakAverage, swap


def test_decay_warms_up_as_in_tensorflow():
    average = PolyakAverage(0.999)
    seen = []
    average.start({"w": torch.zeros(1)})
    for _ in range(5):
        seen.append(average.current_decay())
        average.update({"w": torch.ones(1)})
    assert seen == [1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14]
    average.updates = 10**6
    assert average.current_decay() == 0.999


def test_update_follows_the_recurrence():
    torch.manual_seed(0)
    values = torch.randn(20, 3, dtype=torch.float64)
    average = PolyakAverage(0.5)
    average.start({"w": values[0]})
    expected = values[0].tolist()
    for n, value in enumerate(values[1:]):
        average.update({"w": value})
        decay = min(0.5, (1 + n) / (10 + n))
        expected = [
            decay * a + (1 - decay) * v for a, v in zip(expected, value.tolist(), strict=True)
        ]
    assert average.average["w"].tolist() == pytest.approx(expected, rel=1e-14)


def test_batch_norms_moving_statistics_are_averaged_and_its_counter_is_copied():
    norm = nn.BatchNorm2d(4)
    average = PolyakAverage(0.9)
    average.start(norm.state_dict())
    norm(torch.randn(8, 4, 3, 3) * 5 + 2)
    average.update(norm.state_dict())
    expected = 0.1 * torch.ones(4) + 0.9 * norm.running_var
    torch.testing.assert_close(average.average["running_var"], expected)
    assert average.average["num_batches_tracked"].item() == 1
    assert average.average["num_batches_tracked"].dtype == torch.int64


def test_the_average_does_not_share_memory_with_the_weights():
    weight = torch.zeros(2)
    average = PolyakAverage(0.9)
    average.start({"w": weight})
    weight += 1
    assert average.average["w"].tolist() == [0, 0]


def test_swap_twice_restores_both_bit_by_bit():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    average = PolyakAverage(0.9)
    average.start({name: value * 2 for name, value in before.items()})
    swap(model, average)
    torch.testing.assert_close(model.state_dict()["0.weight"], before["0.weight"] * 2)
    swap(model, average)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_state_survives_a_round_trip():
    average = PolyakAverage(0.9)
    average.start({"w": torch.zeros(1)})
    for _ in range(3):
        average.update({"w": torch.ones(1)})
    again = PolyakAverage(0.9)
    again.load_state_dict(average.state_dict())
    for one in (average, again):
        one.update({"w": torch.full((1,), 5.0)})
    assert torch.equal(average.average["w"], again.average["w"])
    assert again.updates == 4


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2])
def test_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"polyak\.decay"):
        PolyakAverage(decay)
