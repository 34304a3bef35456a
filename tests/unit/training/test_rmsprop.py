"""RMSprop in blocks against timm's, bit by bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.optim.rmsprop_tf import RMSpropTF
from torch import nn

from xception.training import rmsprop
from xception.training.rmsprop import BlockwiseRMSprop, blocks

LAYOUTS = {
    "contiguous": lambda t: t.contiguous(),
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
}


def steps(kind, shape, layout, gradient_layout, options, count=4):
    """Weights and state after a few steps from the same numbers."""
    generator = torch.Generator().manual_seed(5)
    weights = LAYOUTS[layout](torch.randn(shape, generator=generator))
    parameter, other = nn.Parameter(weights), nn.Parameter(torch.ones(3))
    optimizer = kind([{"params": [parameter, other]}], lr=0.1, alpha=0.9, **options)
    for step in range(count):
        gradient = torch.randn(shape, generator=generator) * 10.0 ** (step - 2)
        parameter.grad = LAYOUTS[gradient_layout](gradient)
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        optimizer.step()
    assert other not in optimizer.state  # it has no gradient
    return [parameter.detach(), *(torch.as_tensor(v) for v in optimizer.state[parameter].values())]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 7)] * 4),
    elements=st.integers(1, 40),
    layout=st.sampled_from(list(LAYOUTS)),
    gradient_layout=st.sampled_from(list(LAYOUTS)),
    weight_decay=st.sampled_from([0.0, 0.01]),
    momentum=st.sampled_from([0.0, 0.9]),
    eps=st.sampled_from([1.0, 1e-10]),
)
def test_steps_in_blocks_are_timms_bit_by_bit(
    shape, elements, layout, gradient_layout, weight_decay, momentum, eps
):
    options = {"weight_decay": weight_decay, "momentum": momentum, "eps": eps}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rmsprop, "_ELEMENTS", elements)
        found = steps(BlockwiseRMSprop, shape, layout, gradient_layout, options)
    expected = steps(RMSpropTF, shape, layout, gradient_layout, options)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_steps_of_the_blocks_that_are_used_are_timms_bit_by_bit():
    options = {"weight_decay": 1e-5, "momentum": 0.9, "eps": 1.0}
    size = 3 * torch.get_num_threads() * 131_072 + 17  # four blocks, the last one small
    found, expected = (
        steps(kind, (size, 1, 1, 1), "contiguous", "contiguous", options)
        for kind in (BlockwiseRMSprop, RMSpropTF)
    )
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("layout", "count"), [("contiguous", 3), ("channels last", 3), ("transposed", 1)]
)
def test_blocks_are_views_of_all_elements_where_the_layout_allows(monkeypatch, layout, count):
    monkeypatch.setattr(rmsprop, "_ELEMENTS", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    tensors = [LAYOUTS[layout](torch.zeros(2, 3, 2, 2)) for _ in range(2)]  # 24: three of 8
    cut = blocks(tensors)
    assert len(cut) == count
    for number, (one, other) in enumerate(cut):
        one += number + 1
        other += 2 * (number + 1)
    assert torch.equal(tensors[1], 2 * tensors[0])
    assert tensors[0].unique().tolist() == list(range(1, len(cut) + 1))


def test_the_loss_of_a_closure_comes_back_and_the_state_is_timms():
    weight = nn.Parameter(torch.ones(2))
    optimizer = BlockwiseRMSprop([weight], lr=0.1, momentum=0.9)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses[0] == 2.0
    assert losses == sorted(losses, reverse=True)
    other = RMSpropTF([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    other.load_state_dict(optimizer.state_dict())
    again = BlockwiseRMSprop([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    again.load_state_dict(other.state_dict())
    (state,) = again.state.values()
    assert int(state["step"]) == 3
