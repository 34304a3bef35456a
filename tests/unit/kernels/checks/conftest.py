"""Runs the checks of this folder on the kernels: interpreted on the CPU, or on a GPU.

``tests/unit/kernels/test_kernels_interpreted.py`` and ``test_kernels_gpu.py`` start them.
"""

import contextlib
from unittest import mock

import pytest
import torch

from xception.kernels import dispatch, reference


@pytest.fixture
def device():
    """Where the kernels run."""
    if dispatch.interpreting():
        return "cpu"
    if not torch.cuda.is_available():
        pytest.skip("needs TRITON_INTERPRET=1 or a CUDA GPU")
    return "cuda"


@pytest.fixture
def last_program_first(device):
    """The programs of a kernel in the opposite order, where they run one after the other.

    On a GPU they run at the same time: what two of them write must not depend on who is first.
    """

    @contextlib.contextmanager
    def context():
        if device != "cpu":
            yield
            return
        from triton.runtime.interpreter import interpreter_builder as builder

        place = builder.set_grid_idx

        def opposite(*index):
            place(*(n - 1 - i for n, i in zip(builder.grid_dim, index, strict=True)))

        with mock.patch.object(builder, "set_grid_idx", opposite):
            yield

    return context


@pytest.fixture(autouse=True)
def _no_reference(monkeypatch):
    """The reference raises, so that it is the kernel that is tested."""

    def raise_error(*args, **kwargs):
        raise AssertionError("the plain reference ran instead of the kernel")

    for name in reference.OPERATORS:
        monkeypatch.setattr(reference, name, raise_error)


@pytest.fixture(autouse=True)
def _quiet_threads():
    torch.set_num_threads(1)
