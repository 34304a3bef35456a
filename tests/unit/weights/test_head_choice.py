"""Whether a trained head serves for other data, told by the names of the classes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xception.models.registry import create_model
from xception.weights.files import describe
from xception.weights.head_choice import choose_head

SIZE = {"width": 0.125, "middle_flow_repeats": 1}


def network(num_classes=3, **arguments):
    return create_model("xception", num_classes=num_classes, **SIZE, **arguments)


def chosen(names, *, known=("a", "b", "c"), multi_label=False, trained_multi_label=False, **here):
    stored = network(len(known))
    described = describe(stored, list(known), multi_label=trained_multi_label)
    return choose_head(described, network(len(names), **here), names, multi_label=multi_label)


@pytest.mark.parametrize(
    ("names", "rows", "words"),
    [
        ("abc", [0, 1, 2], "the head is kept: the same 3 classes"),
        # cba is its own inverse and proves nothing; bca is not
        ("bca", [1, 2, 0], "the head is kept: the same 3 classes, in another order"),
        ("ab", None, "new head: 2 classes, the weights have 3"),
        ("abcd", None, "new head: 4 classes, the weights have 3"),
        ("abx", None, "new head: the weights are for other classes, such as c"),
        ("ABC", None, "new head: the weights are for other classes, such as a"),
    ],
)
def test_head_is_kept_for_the_same_names_alone(names, rows, words):
    found = chosen(list(names))
    assert (found.rows, found.words) == (rows, words)


@given(order=st.permutations(["a", "b", "c", "d", "e"]))
def test_rows_lead_from_each_class_to_its_name_in_the_file(order):
    known = ["c", "a", "e", "b", "d"]
    described = replace(DESCRIBED, class_names=known)
    found = choose_head(described, FIVE, order, multi_label=False)
    assert [known[row] for row in found.rows] == order


FIVE = network(5)
DESCRIBED = describe(FIVE)


def test_names_that_stand_twice_are_trusted_in_their_own_order_only():
    assert chosen(["a", "a", "b"], known=["a", "a", "b"]).rows == [0, 1, 2]
    assert chosen(["a", "b", "a"], known=["a", "a", "b"]).rows is None
    assert chosen(["a", "b", "b"], known=["a", "a", "b"]).rows is None


def test_weights_without_names_or_without_a_head_get_a_new_one():
    model = network()
    found = choose_head(describe(model), model, ["a", "b", "c"], multi_label=False)
    assert found.rows is None
    assert found.words == (
        "new head: the weights do not name their classes (xception convert --class-names does)"
    )
    found = choose_head(describe(network(0)), model, ["a", "b", "c"], multi_label=False)
    assert (found.rows, found.words) == (None, "new head: the weights have none")


def test_a_head_of_sigmoids_is_none_for_a_softmax_nor_the_other_way_round():
    both = chosen(["a", "b", "c"], trained_multi_label=True, multi_label=True)
    assert both.rows == [0, 1, 2]
    found = chosen(["a", "b", "c"], trained_multi_label=True)
    assert (found.rows, found.words) == (
        None,
        "new head: the weights were trained on several labels to an image, the data have one",
    )
    found = chosen(["a", "b", "c"], multi_label=True)
    assert (found.rows, found.words) == (
        None,
        "new head: the weights were trained on one label to an image, the data have several",
    )


def test_other_layers_before_the_classifier_make_it_another_head():
    known, names = ["a", "b", "c"], ["a", "b", "c"]
    for there, here, same in (
        ({}, {"fc_units": (8,)}, False),
        ({"fc_units": (8,)}, {"fc_units": (8,)}, True),
        ({"fc_units": (8,)}, {"fc_units": (9,)}, False),
        ({"fc_units": (8,)}, {"fc_units": (8,), "fc_activation": "elu"}, False),
        ({}, {"fc_activation": "elu"}, True),  # it stands after no layer
    ):
        described = describe(network(**there), known)
        found = choose_head(described, network(**here), names, multi_label=False)
        assert (found.rows is not None) == same, (there, here)
        if not same:
            assert found.words == "new head: that of the weights has other layers"
