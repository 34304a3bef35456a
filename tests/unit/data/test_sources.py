import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xception.data.sources import ArraySource, FileSource, ImageSource, Subset
from xception.errors import InputError

NAME = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@settings(max_examples=50, deadline=None)
@given(names=st.lists(NAME, min_size=1, max_size=20))
def test_file_source_keeps_any_name(names):
    source = FileSource("/data", names, [0] * len(names), ["only"])
    assert len(source) == len(names)
    assert [source.describe(i) for i in range(len(names))] == [f"/data/{name}" for name in names]


def test_file_source_keeps_undecodable_names():
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert FileSource("/d", ["a", name, "b"], [0] * 3, ["x"]).describe(1) == f"/d/{name}"


def test_file_source_takes_few_bytes_per_file():
    names = [f"n{i % 1000:08d}/n{i % 1000:08d}_{i}.JPEG" for i in range(10_000)]
    source = FileSource("/d", names, [i % 1000 for i in range(10_000)], ["x"] * 1000)
    assert all(isinstance(a, np.ndarray) for a in (source._names, source._ends, source.labels))
    assert source.nbytes == sum(map(len, names)) + 10_000 * (8 + 8)
    assert source.nbytes / 10_000 <= 100


def test_file_source_refuses_an_index_past_the_end(tmp_path):
    source = FileSource(tmp_path, ["a.png"], [0], ["x"])
    with pytest.raises(IndexError):
        source[1]
    assert source.describe(-1) == f"{tmp_path}/a.png"


def test_subset_maps_indices_and_labels(numbered):
    subset = Subset(numbered(10), [7, 2, 5])
    assert len(subset) == 3
    assert subset.labels.tolist() == [1, 2, 2]
    assert [int(subset[i][0][0, 0, 0]) for i in range(3)] == [7, 2, 5]
    assert subset.describe(0) == "numbered image 7"
    assert isinstance(subset, ImageSource)


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), [0, 0], r"\(N, 3, H, W\)"),
        (torch.zeros(2, 3, 4, 4), [0, 0], "float32"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0], "1 labels"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 2], "from 0 to 2.*2 class names"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [-1, 0], "from -1"),
    ],
)
def test_array_source_refuses(images, labels, told):
    with pytest.raises(InputError, match=told):
        ArraySource(images, labels, ["a", "b"])
