"""Figures 1 to 4 and the rewriting between figures 2 and 3."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from xception.errors import InputError
from xception.models.inception_module import (
    CanonicalInceptionModule,
    ExtremeInceptionModule,
    ReformulatedInceptionModule,
    SimplifiedInceptionModule,
    reformulate,
    simplify,
)
from xception.models.layers import SeparableConv2d

sizes = st.integers(1, 5)


def outputs_and_gradients(module, x):
    x = x.clone().requires_grad_()
    output = module(x)
    (output * torch.arange(output.numel(), dtype=x.dtype).view_as(output).cos()).sum().backward()
    return output, x.grad


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, sizes, sizes, st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))
def test_figures_2_and_3_are_the_same_function(inputs, mid, out, branches, n, height, width):
    torch.manual_seed(inputs + 10 * mid + 100 * out + 1000 * branches)
    simplified = SimplifiedInceptionModule(inputs, mid, out, branches).double()
    reformulated = reformulate(simplified)
    back = simplify(reformulated)
    x = torch.randn(n, inputs, height, width, dtype=torch.float64)
    output, gradient = outputs_and_gradients(simplified, x)
    assert output.shape == (n, branches * out, height, width)
    for other in (reformulated, back):
        own_output, own_gradient = outputs_and_gradients(other, x)
        torch.testing.assert_close(own_output, output, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(own_gradient, gradient, rtol=1e-12, atol=1e-12)
    # gradients of the weights: rewritten as the weights are
    for name in ("pointwise", "spatial"):
        target = reformulated.get_submodule(f"{name}.conv")
        sources = [branch.get_submodule(f"{name}.conv") for branch in simplified.branches]
        for kind in ("weight", "bias"):
            stacked = torch.cat([getattr(conv, kind).grad for conv in sources])
            own = getattr(target, kind).grad
            torch.testing.assert_close(own, stacked, rtol=1e-12, atol=1e-12)
    for (key, value), other in zip(
        back.state_dict().items(), simplified.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), key


def test_simplified_module_equals_its_figure():
    module = SimplifiedInceptionModule(4, 3, 2, branches=2)
    x = torch.randn(1, 4, 5, 5)
    maps = []
    for branch in module.branches:
        first, second = branch.pointwise.conv, branch.spatial.conv
        hidden = F.relu(F.conv2d(x, first.weight, first.bias))
        maps.append(F.relu(F.conv2d(hidden, second.weight, second.bias, padding=1)))
    assert torch.equal(module(x), torch.cat(maps, 1))


def test_canonical_module_has_the_four_branches_of_figure_1():
    module = CanonicalInceptionModule(6, 4)
    assert module(torch.randn(2, 6, 7, 5)).shape == (2, 16, 7, 5)
    kernels = {
        name: [m.kernel_size[0] for m in child.modules() if isinstance(m, torch.nn.Conv2d)]
        for name, child in module.named_children()
    }
    assert kernels == {
        "branch1x1": [1],
        "branch3x3": [1, 3],
        "branch3x3_double": [1, 3, 3],
        "branch_pool": [1],
    }
    x = torch.ones(1, 6, 4, 4)  # averages leave the padding out: a constant stays one
    pooled = module(x)[:, 12:]
    torch.testing.assert_close(pooled, module.branch_pool(x))


def test_extreme_module_is_a_separable_convolution_in_the_other_order():
    module = ExtremeInceptionModule(4, 6)
    for step in (module.pointwise, module.spatial):
        torch.nn.init.zeros_(step.conv.bias)
    separable = SeparableConv2d(
        4, 6, order="pointwise-first", intermediate_activation="relu", segments="depthwise"
    )
    separable.pointwise.weight = module.pointwise.conv.weight
    separable.depthwise.weight = module.spatial.conv.weight
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(module(x), F.relu(separable(x)))


def test_extreme_module_is_figure_3_with_as_many_segments_as_channels():
    extreme, reformulated = ExtremeInceptionModule(4, 6), ReformulatedInceptionModule(4, 1, 1, 6)
    reformulated.load_state_dict(extreme.state_dict())
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(extreme(x), reformulated(x))


@pytest.mark.parametrize("arguments", [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)])
def test_sizes_are_validated(arguments):
    for module in (SimplifiedInceptionModule, ReformulatedInceptionModule):
        with pytest.raises(InputError, match="=0 is not possible"):
            module(*arguments)
