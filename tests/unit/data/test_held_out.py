"""Which images are held out by their names: the share of each class, and its stability."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xception.data.held_out import held_out_by_name, held_out_by_position
from xception.errors import InputError


def chosen(names, fraction=0.2, seed=0):
    classes = sorted({name.split("/")[0] for name in names})
    labels = np.array([classes.index(name.split("/")[0]) for name in names])
    return {names[i] for i in held_out_by_name(names, labels, fraction, seed)}


def test_held_out_by_name_takes_the_least_hashes_of_seed_and_name():
    names = [f"cat/{i}.jpg" for i in range(10)]

    def place(name):  # the rule, by hand
        return hashlib.blake2b(f"7\0{name}".encode(), digest_size=8).hexdigest()

    assert chosen(names, 0.3, seed=7) == set(sorted(names, key=place)[:3])


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=5).filter(lambda c: max(c) > 1),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_held_out_by_name_keeps_each_classs_share(counts, fraction, seed):
    names = [f"{label}/{i}" for label, count in enumerate(counts) for i in range(count)]
    held_out = chosen(names, fraction, seed)
    for label, count in enumerate(counts):
        of_class = sum(name.startswith(f"{label}/") for name in held_out)
        assert of_class == min(max(round(fraction * count), 1), count - 1)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 40),
    removed=st.integers(0, 39),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 9),
)
def test_one_image_more_or_less_moves_at_most_one_other(count, removed, fraction, seed):
    all_names = [f"cat/{i}" for i in range(count + 1)]
    gone = all_names[removed % (count + 1)]
    fewer = [name for name in all_names if name != gone]
    moved = chosen(all_names, fraction, seed) ^ chosen(fewer, fraction, seed)
    assert len(moved - {gone}) <= 1


def test_held_out_by_name_of_a_class_does_not_depend_on_the_others():
    cats = [f"cat/{i}" for i in range(20)]
    others = [f"{name}/{i}" for name in ("ant", "zebra") for i in range(9)]
    assert {n for n in chosen([*others, *cats]) if n.startswith("cat/")} == chosen(cats)


def test_held_out_by_name_knows_an_accent_in_both_of_its_spellings():
    # "é" as one code point and as two: a folder copied from a Mac.
    composed = [f"caf\u00e9/{i}" for i in range(20)]
    decomposed = [f"cafe\u0301/{i}" for i in range(20)]
    labels = np.zeros(20)
    assert (
        held_out_by_name(composed, labels, 0.3, 1).tolist()
        == held_out_by_name(decomposed, labels, 0.3, 1).tolist()
    )


def test_held_out_by_name_takes_names_that_are_not_utf8():
    assert len(chosen([f"cat/{i}\udcff" for i in range(10)])) == 2


def test_held_out_by_position_is_drawn_as_ever():
    """Named data sets, and runs without a list of their images, depend on these very draws."""
    labels = np.array([0, 1] * 10)
    by_hand = [
        np.flatnonzero(labels == label)[np.random.default_rng([7, label]).permutation(10)[:3]]
        for label in (0, 1)
    ]
    assert held_out_by_position(labels, 0.3, 7).tolist() == sorted(np.concatenate(by_hand))


def test_held_out_by_name_refuses_what_can_not_be():
    with pytest.raises(InputError, match="between 0 and 1"):
        chosen(["a/1", "a/2"], 1.0)
    with pytest.raises(InputError, match="every class has a single one"):
        chosen(["a/1", "b/1"], 0.5)
