"""The vectors and their slices: cut and joined again, in the order of the servers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xception.distributed.layout import Layout, Values
from xception.errors import InputError
from xception.weights.sliced import joined


def network(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip([3, *widths], widths, strict=False):
        layers += [nn.Conv2d(before, after, 1), nn.BatchNorm2d(after, momentum=0.25)]
    return nn.Sequential(*layers)


def groups_of(model: nn.Module) -> list[dict]:
    """As the recipes have them: convolutions are decayed, the rest is not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]


def fill(model: nn.Module) -> None:
    """Every element of the state another number."""
    first = 0
    for tensor in model.state_dict().values():
        numbers = torch.arange(first, first + tensor.numel())
        tensor.copy_(numbers.view(tensor.shape).to(tensor.dtype))
        first += tensor.numel()


sizes = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(1, 40))
def test_layout_cut_and_joined_is_the_same_state(widths, shards):
    model = network(widths)
    fill(model)
    size = sum(p.numel() for p in model.parameters())
    if shards > size:
        with pytest.raises(InputError, match=f"asynchronous.shards is {shards}"):
            Layout(model, groups_of(model), shards)
        return
    layout = Layout(model, groups_of(model), shards)
    values = layout.read()
    slices = layout.cut_values(values)
    assert len(slices) == shards
    lengths = [len(s.parameters) for s in slices]
    assert max(lengths) - min(lengths) <= 1  # no server is larger than the others
    for whole, again in zip(values, Layout.join(slices), strict=True):
        assert torch.equal(whole, again)
    other = network(widths)
    Layout(other, groups_of(other), shards).write(Layout.join(slices))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(1, 12))
def test_each_server_knows_the_decay_of_each_of_its_parameters(widths, shards):
    model = network(widths)
    layout = Layout(model, groups_of(model), min(shards, sum(map(torch.numel, model.parameters()))))
    decay = torch.cat(
        [torch.full((p.numel(),), 0.1 if p.ndim > 1 else 0.0) for p in layout.parameters]
    )
    told = [
        torch.full((length,), plan.options[group]["weight_decay"])
        for plan in layout.plans()
        for length, group in plan.runs
    ]
    assert torch.equal(torch.cat(told), decay)
    for plan, cut in zip(layout.plans(), layout.cut_values(layout.read()), strict=True):
        assert plan.size == len(cut.parameters)
        assert len(plan.keep) == len(cut.statistics)
        assert plan.counters == len(cut.counters)
        assert torch.equal(plan.keep, torch.full_like(plan.keep, 0.75))


def test_layout_keeps_the_order_of_indices_of_channels_last_weights():
    plain, last = network([4]), network([4]).to(memory_format=torch.channels_last)
    last.load_state_dict(plain.state_dict())
    one = Layout(plain, groups_of(plain)).read()
    layout = Layout(last, groups_of(last))
    assert torch.equal(layout.read().parameters, one.parameters)
    layout.write(Values(one.parameters * 2, one.statistics, one.counters))
    assert torch.equal(last[0].weight, plain[0].weight * 2)
    assert last[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_layout_reads_copies():
    model = network([2])
    values = Layout(model, groups_of(model)).read()
    before = values.parameters.clone()
    with torch.no_grad():
        model[0].weight.add_(1)
    assert torch.equal(values.parameters, before)


def test_a_frozen_parameter_is_on_no_server_and_stays_as_it_is():
    model = network([2, 3])
    frozen = model[0].weight
    groups = [{"params": [p for p in model.parameters() if p is not frozen]}]
    layout = Layout(model, groups)
    assert layout.size == sum(p.numel() for p in model.parameters()) - frozen.numel()
    before = frozen.detach().clone()
    layout.write(Values(*(torch.zeros_like(v) for v in layout.read())))
    assert torch.equal(frozen, before)
    assert not model[3].weight.any()


def test_the_vectors_are_named_so_that_they_can_be_read_without_the_network():
    model = network([2, 3])
    fill(model)
    frozen = "0.weight"
    groups = [{"params": [p for n, p in model.named_parameters() if n != frozen]}]
    layout = Layout(model, groups, shards=3)
    shards = [
        {
            "values": part._asdict(),
            "polyak": {"state_dict": part._replace(parameters=part.parameters * 0)._asdict()},
        }
        for part in layout.cut_values(layout.read())
    ]
    content = {"shards": shards, "tensors": layout.tensors(model)}
    assert list(content["tensors"]["constant"]) == [frozen]
    found = joined(content, averaged=False)
    assert found.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype
    average = joined(content, averaged=True)
    assert not average["3.weight"].any()
    assert torch.equal(average[frozen], model.state_dict()[frozen])


def test_the_gradient_of_what_the_loss_does_not_depend_on_is_zero():
    model = network([2, 3])
    layout = Layout(model, groups_of(model))
    model[0].weight.sum().backward()
    gradient = layout.gradient()
    assert gradient.tolist() == [1.0] * 6 + [0.0] * (layout.size - 6)


def test_batch_norm_with_a_plain_mean_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, momentum=None))
    with pytest.raises(ValueError, match="a BatchNorm with a momentum"):
        Layout(model, groups_of(model))
