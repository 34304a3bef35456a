"""The optimizers against TensorFlow's update rules written out."""

import math

import pytest
import torch

from xception.training.optimizers import rmsprop, scaled_learning_rate, set_learning_rate, sgd

GRADIENTS = (0.5, -2.0, 1.5, 0.25, -0.75)


def run(optimizer, weight, rates=None):
    seen = []
    for step, gradient in enumerate(GRADIENTS):
        if rates:
            set_learning_rate(optimizer, rates[step])
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        seen.append(weight.item())
    return seen


def test_rmsprop_is_tensorflows_over_a_changing_learning_rate():
    rates = [0.1, 0.1, 0.05, 0.05, 0.025]
    decay, momentum, eps, weight_decay = 0.9, 0.9, 1.0, 0.01
    weight = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = rmsprop(
        [{"params": [weight], "weight_decay": weight_decay}],
        momentum=momentum,
        decay=decay,
        eps=eps,
    )
    value, mean_square, buffer, expected = 1.0, 1.0, 0.0, []  # TensorFlow starts the square at 1
    for gradient, rate in zip(GRADIENTS, rates, strict=True):
        total = gradient + weight_decay * value
        mean_square = decay * mean_square + (1 - decay) * total**2
        buffer = momentum * buffer + rate * total / math.sqrt(mean_square + eps)
        value -= buffer
        expected.append(value)
    assert run(optimizer, weight, rates) == pytest.approx(expected, rel=1e-12)


def test_sgd_is_momentum_with_l2_decay():
    weight = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = sgd([{"params": [weight], "weight_decay": 0.1}], learning_rate=0.045)
    value, buffer, expected = 1.0, 0.0, []
    for gradient in GRADIENTS:
        buffer = 0.9 * buffer + gradient + 0.1 * value
        value -= 0.045 * buffer
        expected.append(value)
    assert run(optimizer, weight) == pytest.approx(expected, rel=1e-12)


def test_learning_rate_respects_the_groups_scale():
    first, second = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = sgd([{"params": [first], "lr_scale": 0.5}, {"params": [second]}])
    set_learning_rate(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]


def test_learning_rate_scales_with_the_batch_only_when_asked():
    assert scaled_learning_rate(0.045, 64, None) == 0.045
    assert scaled_learning_rate(0.045, 64, 32) == 0.09
    with pytest.raises(ValueError, match=r"optimizer\.reference_batch"):
        scaled_learning_rate(0.045, 64, 0)
