"""Kernels are compiled side by side, each once, and launched only outside of that."""

import threading

import pytest
import torch

from xception.kernels import compilation


class Kernel:
    """Stands in for a function under triton.jit; records what is launched and compiled."""

    def __init__(self, compile_one=lambda: None):
        self.launched, self.compiled = [], []
        self.compile_one = compile_one

    def __getitem__(self, grid):
        return lambda *arguments, **options: self.launched.append((grid, arguments, options))

    def warmup(self, *arguments, grid, **options):
        self.compile_one()
        self.compiled.append(options)


def test_start_launches():
    kernel = Kernel()
    compilation.start(kernel, (3, 2), 5, BLOCK=8)
    assert kernel.launched == [((3, 2), (5,), {"BLOCK": 8})]
    assert kernel.compiled == []


def test_side_by_side_compiles_in_threads_and_launches_nothing():
    meeting = threading.Barrier(3, timeout=30)  # passed only if all three compile at a time
    kernel = Kernel(meeting.wait)
    with compilation.side_by_side(threads=3):
        assert compilation.collecting()
        for block in (8, 16, 32):
            compilation.start(kernel, (1,), BLOCK=block)
    assert not compilation.collecting()
    assert sorted(options["BLOCK"] for options in kernel.compiled) == [8, 16, 32]
    assert kernel.launched == []


def test_a_kernel_is_compiled_once_for_every_specialisation():
    kernel, tensor = Kernel(), torch.zeros(64)
    with compilation.side_by_side() as jobs:
        for rows in (147, 73, 8):  # sizes of which none is 1 or divisible by 16: one kernel
            compilation.start(kernel, (1,), tensor, rows, BLOCK=8)
        compilation.start(kernel, (1,), tensor, 32, BLOCK=8)  # divisible by 16
        compilation.start(kernel, (1,), tensor, 1, BLOCK=8)
        compilation.start(kernel, (1,), tensor, 2**31 + 1, BLOCK=8)  # 64 bits
        compilation.start(kernel, (1,), tensor[1:], 147, BLOCK=8)  # aligned to 4 bytes
        compilation.start(kernel, (1,), tensor.half(), 147, BLOCK=8)
        compilation.start(kernel, (1,), tensor, 147, BLOCK=16)
    assert len(kernel.compiled) == len(jobs) == 7


def test_a_kernel_that_cannot_be_compiled_does_not_raise_before_its_launch():
    def fail():
        raise RuntimeError("out of resource: shared memory")

    kernel = Kernel(fail)
    with compilation.side_by_side():
        compilation.start(kernel, (1,), BLOCK=8)
    assert not compilation.collecting()


def test_an_error_in_between_ends_the_collecting():
    def leave():
        with compilation.side_by_side():
            raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        leave()
    assert not compilation.collecting()
