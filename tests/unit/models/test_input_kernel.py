"""Adapting the first kernel to another number of channels."""

import pytest
import torch
import torch.nn.functional as F

from xception.errors import InputError
from xception.models.input_kernel import adapt_input_kernel


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_sum_gives_grey_images_the_same_answer(channels):
    weight, grey = torch.randn(5, 3, 3, 3), torch.randn(2, 1, 8, 8)
    expected = F.conv2d(grey.expand(-1, 3, -1, -1), weight)
    adapted = adapt_input_kernel(weight, channels, mode="sum")
    torch.testing.assert_close(F.conv2d(grey.expand(-1, channels, -1, -1), adapted), expected)


def test_repeat_goes_round_the_old_channels():
    weight = torch.randn(5, 3, 3, 3)
    adapted = adapt_input_kernel(weight, 5, mode="repeat")
    for channel, old in enumerate([0, 1, 2, 0, 1]):
        torch.testing.assert_close(adapted[:, channel], weight[:, old] * 3 / 5)


@pytest.mark.parametrize("mode", ["sum", "repeat"])
def test_the_same_number_of_channels_changes_nothing(mode):
    weight = torch.randn(5, 3, 3, 3)
    assert adapt_input_kernel(weight, 3, mode) is weight


def test_arguments_are_validated():
    with pytest.raises(InputError, match="mode='mean'"):
        adapt_input_kernel(torch.zeros(1, 3, 3, 3), 1, mode="mean")
    with pytest.raises(InputError, match="in_channels=0"):
        adapt_input_kernel(torch.zeros(1, 3, 3, 3), 0)
