"""The published numbers, against the tables as printed and against the live networks."""

import pytest
import torch

from xception.models.registry import create_model
from xception.paper.published import (
    STATEMENTS,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TEXT,
    published,
    statement,
)


@pytest.mark.parametrize(
    ("subject", "top1", "top5"),
    [
        ("VGG-16", 0.715, 0.901),
        ("ResNet-152", 0.770, 0.933),
        ("Inception V3", 0.782, 0.941),
        ("Xception", 0.790, 0.945),
    ],
)
def test_table_1_is_as_printed(subject, top1, top5):
    assert published(TABLE_1, subject, "top1").value == top1
    assert published(TABLE_1, subject, "top5").value == top5


def test_table_2_gives_the_relative_gain_of_the_text_only_with_fully_connected_layers():
    values = {number.subject: number.value for number in TABLE_2}
    plain = values["Xception, no FC layers"] / values["Inception V3, no FC layers"] - 1
    dense = values["Xception with FC layers"] / values["Inception V3 with FC layers"] - 1
    # 6.70 / 6.36 = 1.0535 and 6.78 / 6.50 = 1.0431: the text's 4.3 % is the second
    assert round(plain, 4) == 0.0535
    assert round(dense, 4) == 0.0431
    gain = next(number for number in TEXT if number.metric == "relative_gain")
    assert round(dense, 3) == gain.value


@pytest.mark.parametrize(
    ("subject", "name", "arguments"),
    [("Xception", "xception", {}), ("Inception V3", "inception_v3", {"variant": "paper"})],
)
def test_table_3_parameters_are_those_of_the_live_networks(subject, name, arguments):
    with torch.device("meta"):
        model = create_model(name, **arguments)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert published(TABLE_3, subject, "parameters").value == count


def test_places_name_table_and_row():
    assert [number.place for number in TABLE_2] == [f"table 2, row {row}" for row in range(1, 5)]
    assert published(TABLE_3, "Xception", "steps_per_second").place == "table 3, row 2"


def test_unknown_numbers_and_statements_are_refused():
    with pytest.raises(KeyError):
        published(TABLE_1, "Xception", "map100")
    with pytest.raises(KeyError):
        statement("no-such-claim")


def test_statements_have_unique_names():
    names = [found.name for found in STATEMENTS]
    assert len(set(names)) == len(names)
    assert statement("order").place == "section 1.2"
