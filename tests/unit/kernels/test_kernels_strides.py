"""What the launches return has the sizes, strides and types that the compiler was promised.

Compiled code asserts them at run time: a wrong promise is an error in the first compiled step on a
GPU, and seen nowhere else. Here the launches run without their kernels: only memory is allotted.
"""

import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from xception.kernels import (
    activation,
    compilation,
    convolution,
    depthwise,
    pointwise,
    pooling,
    separable,
    tuning,
)

OPERATORS = torch.ops.xception


def launching():
    """The modules that launch kernels: each has the function by a name of its own."""
    loaded = [
        module for name, module in sys.modules.items() if name.startswith("xception.kernels.")
    ]
    return [m for m in loaded if getattr(m, "start", None) is compilation.start]


@pytest.fixture(autouse=True)
def _no_kernels(monkeypatch):
    for module in launching():
        monkeypatch.setattr(module, "start", lambda *arguments, **options: None)
    for module in (activation, convolution, depthwise, pointwise, pooling, separable):
        monkeypatch.setattr(module, "runs_kernel", lambda tensor: True)


def images(channels, height=5, width=6, dtype=torch.bfloat16):
    values = torch.randn(2, channels, height, width).to(dtype)
    return values.to(memory_format=torch.channels_last)


def cases():
    """Operators and arguments as a training step in bfloat16 and evaluation call them."""
    vector = torch.rand(16) + 0.5
    filters, matrix = torch.randn(16, 1, 3, 3), torch.randn(24, 16, 1, 1).bfloat16()
    center, empty = torch.randn(24), torch.empty(0)
    half = (3, 3)
    taps = {
        "none": images(16)[:0].new_empty(0),
        "sum": images(16),
        "strided": images(16, *half),
        "strided-relu": images(16, *half),
    }
    for tap, grad_tap in taps.items():
        for affine in (None, vector):
            residual = images(16) if tap == "sum" else None
            inputs = (images(16), affine, affine, residual, filters)
            yield "depthwise", (*inputs, True, tap)
            yield "depthwise_backward", (images(16), grad_tap, *inputs, True, tap)
            if tap != "sum":
                for save in (False, True):
                    weights = (images(16), affine, affine, filters, matrix)
                    yield "separable", (*weights, center, True, tap, True, save)
                    yield "separable", (*weights, empty, True, tap, False, save)
    for kept, statistics in ((center, True), (empty, False)):
        z = images(24) if statistics else images(24)[:0].new_empty(0)
        sums = torch.randn(2, len(kept))
        yield "pointwise", (images(16), matrix, kept, statistics)
        arguments = (images(24), *sums, z, images(16), matrix, kept, statistics)
        yield "pointwise_backward", arguments
        weight = torch.randn(24, 16, 3, 3).bfloat16()
        yield "convolution", (images(16), weight, kept, statistics, 1, 1)
        for needs_x in (False, True):
            arguments = (images(24), *sums, z, images(16), weight, kept, statistics, 1, 1, needs_x)
            yield "convolution_backward", arguments
    for relu in (True, False):
        yield "activation", (images(16), vector, vector, relu)
        yield "activation_backward", (images(16), images(16), vector, vector, relu)
    for statistics, affine in ((True, vector.bfloat16()), (True, None), (False, vector)):
        sums = [vector if statistics else empty] * 3
        arguments = (*sums, vector, vector, affine, affine, 60, 1e-3, statistics)
        yield "normalizer", arguments
        yield "normalizer_backward", (vector, vector, *arguments)
    index = torch.zeros(2, 16, 3, 3, dtype=torch.int8).to(memory_format=torch.channels_last)
    for shortcut in ((images(16, *half), vector, vector), (None, None, None)):
        for save in (False, True):
            yield "pool", (images(16), vector, vector, *shortcut, [1, 0], save)
        arguments = (images(16, *half), images(16, *half), index, vector, *shortcut[:2])
        yield "pool_backward", (*arguments, [2, 16, 5, 6], [1, 0])


# The first configuration, and the second, which is the library's product or Triton's.
@pytest.mark.parametrize("choice", [0, 1])
def test_launches_return_what_the_compiler_was_promised(choice, monkeypatch):
    monkeypatch.setattr(
        tuning,
        "choose",
        lambda kernel, key, candidates, launch: candidates[min(choice, len(candidates) - 1)],
    )
    names = set()
    for name, arguments in cases():
        names.add(name)
        operator = getattr(OPERATORS, name).default
        actual = operator(*arguments)
        with FakeTensorMode() as mode:
            fakes = [
                mode.from_tensor(value) if isinstance(value, torch.Tensor) else value
                for value in arguments
            ]
            promised = operator(*fakes)
        if isinstance(actual, torch.Tensor):
            actual, promised = (actual,), (promised,)
        for place, (left, right) in enumerate(zip(actual, promised, strict=True)):
            found = (left.shape, left.stride(), left.dtype)
            assert found == (right.shape, right.stride(), right.dtype), (name, place)
    assert len(names) == 13
