"""A single element that is not finite is found, wherever it stands."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xception.distributed.finite import is_finite


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 300),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    bad=st.sampled_from([None, math.nan, -math.nan, math.inf, -math.inf]),
    data=st.data(),
)
def test_is_finite_is_isfinite_of_all_elements(size, dtype, bad, data):
    tensor = torch.randn(size).to(dtype)
    if bad is not None and size:
        tensor[data.draw(st.integers(0, size - 1))] = bad
    assert is_finite(tensor) is bool(tensor.isfinite().all())


@pytest.mark.parametrize("place", [0, 40_000, 99_999])
def test_a_nan_among_many_is_found_by_every_thread(place):
    tensor = torch.full((100_000,), 3e38)  # finite, though their sum is not
    assert is_finite(tensor)
    tensor[place] = math.nan
    assert not is_finite(tensor)
