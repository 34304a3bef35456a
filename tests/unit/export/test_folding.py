import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xception import create_model
from xception.export.folding import fold_batch_norms
from xception.models.freezing import freeze

NETWORKS = [
    ("xception", {"width": 0.0625, "middle_flow_repeats": 1}, 71),
    ("xception", {"width": 0.0625, "middle_flow_repeats": 1, "residual": False}, 71),
    ("inception_v3", {"width": 0.125}, 75),
    ("separable_vgg", {"width": 0.125}, 64),
]


def norms(model):
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def difference(model, folded, images):
    with torch.no_grad():
        expected = model(images)
        return float((folded(images) - expected).abs().max() / expected.abs().max())


def test_fold_batch_norms_of_one_channel_is_the_arithmetic_done_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=1.0))
    model.in_channels = 1
    for tensor, value in zip(
        [*model[0].parameters(), *model[1].parameters(), model[1].running_mean],
        [3.0, 1.0, 5.0, 7.0, 2.0],  # w, b, scale, shift, mean
        strict=True,
    ):
        tensor.data.fill_(value)
    model[1].running_var.fill_(3.0)  # and eps: 4
    folded = fold_batch_norms(model.eval(), size=2)
    # 3 · 5 / √4 and (1 − 2) · 5 / √4 + 7
    assert (folded[0].weight.item(), folded[0].bias.item()) == (7.5, 4.5)
    assert isinstance(folded[1], nn.Identity)


@pytest.mark.parametrize(("name", "arguments", "size"), NETWORKS)
def test_fold_batch_norms_computes_the_same_in_float64(lively, name, arguments, size):
    model = lively(create_model(name, num_classes=5, **arguments).double())
    before = copy.deepcopy(model.state_dict())
    folded = fold_batch_norms(model)
    images = torch.rand(2, 3, size + 5, size, dtype=torch.float64) * 2 - 1
    # 40 layers round 53-bit numbers: 1e-14 was seen. A lost constant gives 1e-2 and more.
    assert difference(model, folded, images) < 1e-12
    assert norms(model)
    assert not norms(folded)
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_fold_batch_norms_leaves_those_that_a_relu_separates(lively):
    model = lively(create_model("inception_v3", variant="paper", num_classes=5, width=0.125))
    folded = fold_batch_norms(model)
    assert len(norms(folded)) == len(norms(model)) > 90
    assert difference(model, folded, torch.rand(1, 3, 75, 75)) == 0


def test_fold_batch_norms_folds_frozen_ones(lively):
    model = lively(create_model("xception", num_classes=5, width=0.0625, middle_flow_repeats=0))
    model = model.double()
    images = torch.rand(1, 3, 71, 71, dtype=torch.float64)
    with torch.no_grad():
        expected = model(images)
    freeze(model)
    assert not norms(model)
    folded = fold_batch_norms(model)
    assert "FrozenBatchNorm2d" not in {type(module).__name__ for module in folded.modules()}
    with torch.no_grad():  # as above: float64
        torch.testing.assert_close(folded(images), expected, rtol=1e-12, atol=1e-12)


class Forked(nn.Module):
    """The convolution's output is read twice: folding would change the other reader's values."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        maps = self.conv(images)
        return self.norm(maps) + maps


class Repeated(nn.Module):
    """One convolution runs twice, once without a BatchNorm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images):
        return self.conv(self.norm(self.conv(images)))


class SharedNorm(nn.Module):
    """One BatchNorm after two convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.norm = (
            nn.Conv2d(3, 3, 3),
            nn.Conv2d(3, 3, 3),
            nn.BatchNorm2d(3),
        )

    def forward(self, images):
        return self.norm(self.second(self.norm(self.first(images))))


@pytest.mark.parametrize("kind", [Forked, Repeated, SharedNorm])
def test_fold_batch_norms_leaves_what_is_not_a_pair(lively, kind):
    torch.manual_seed(0)
    model = lively(kind())
    folded = fold_batch_norms(model, size=8)
    assert len(norms(folded)) == 1
    assert difference(model, folded, torch.rand(2, 3, 9, 8)) == 0


@settings(max_examples=40, deadline=None)
@given(
    channels=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    depthwise=st.booleans(),
    bias=st.booleans(),
    affine=st.booleans(),
    seed=st.integers(0, 100),
)
def test_fold_batch_norms_is_exact_for_any_pair(
    lively, channels, kernel, stride, depthwise, bias, affine, seed
):
    torch.manual_seed(seed)
    inputs, outputs = channels[0], channels[0] * channels[1]
    model = nn.Sequential(
        nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            padding=1,
            groups=inputs if depthwise else 1,
            bias=bias,
        ),
        nn.BatchNorm2d(outputs, affine=affine),
    ).double()
    model.in_channels = inputs
    lively(model, seed)
    folded = fold_batch_norms(model, size=4)
    assert not norms(folded)
    images = torch.rand(2, inputs, 7, 5, dtype=torch.float64)
    with torch.no_grad():  # two operations in float64
        torch.testing.assert_close(folded(images), model(images), rtol=1e-13, atol=1e-13)
