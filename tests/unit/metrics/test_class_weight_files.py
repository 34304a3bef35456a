"""Class weights from files, good and bad."""

import json

import pytest
import torch

from xception.errors import InputError
from xception.metrics import load_class_weights

NAMES = ["cat", "dog", "tea, green", "Ünicorn"]


@pytest.fixture
def write(tmp_path):
    def _write(text, name="weights.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


@pytest.mark.parametrize(
    "text",
    [
        'class,weight\ndog,2\ncat,0.5\nÜnicorn,0\n"tea, green",1e-3\n',
        '\ufeffclass,weight\r\ndog,2\r\n\r\ncat, 0.5\r\nÜnicorn,0\r\n"tea, green",1e-3\r\n',
    ],
    ids=["plain", "windows"],
)
def test_csv_is_read_in_the_order_of_the_classes(write, text):
    weights = load_class_weights(write(text), NAMES)
    assert weights.tolist() == [0.5, 2.0, 0.001, 0.0]
    assert weights.dtype == torch.float64


def test_json_is_read_in_the_order_of_the_classes(write):
    path = write(json.dumps({"dog": 2, "Ünicorn": 0, "tea, green": 1e-3, "cat": 0.5}), "w.json")
    assert load_class_weights(path, NAMES).tolist() == [0.5, 2.0, 0.001, 0.0]


GOOD = 'class,weight\ncat,1\ndog,1\n"tea, green",1\nÜnicorn,1\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("dog,1\n", ""), "lacks the weight of 1 of 4 classes: 'dog'; a class that"),
        ("class,weight\n", "lacks the weight of 4 of 4 .* and 1 more"),
        (GOOD + "dgo,1\n", "line 6: the model has no class 'dgo'; did you mean 'dog'"),
        (GOOD + "dog,1\n", "line 6: class 'dog' has a weight already"),
        (GOOD.replace("dog,1", "dog,-1"), "line 3: the weight of 'dog' is -1; .* not negative"),
        (GOOD.replace("dog,1", "dog,nan"), "weight of 'dog' is nan; .* finite"),
        (GOOD.replace("dog,1", "dog,inf"), "weight of 'dog' is inf; .* finite"),
        (GOOD.replace("dog,1", "dog,much"), "weight of 'dog' is 'much', not a number"),
        (GOOD.replace("dog,1", "dog,"), "weight of 'dog' is '', not a number"),
        (GOOD.replace("dog,1", "dog"), "line 3 has 1 columns"),
        (GOOD.replace('"tea, green",1', "tea, green,1"), "line 4 has 3 columns .* needs quotes"),
        (GOOD.replace(",1", ",0"), "all weights are zero"),
        (GOOD.replace('green",', 'green"x,'), "line 4 is not CSV"),
        ("", "first line of .* must be class,weight"),
        ("cat,1\n", "first line of .* must be class,weight"),
        (b"class,weight\ncat,\xff\n", "not a text file in UTF-8"),
    ],
)
def test_bad_csv_is_refused_in_one_sentence(write, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_class_weights(write(text), NAMES)
    assert "weights.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cat": 1, "dog": 2}', "lacks the weight of 2 of 4"),
        ('{"cat": 1, "cat": 1}', "class 'cat' has a weight already"),
        ('{"cat": true}', "weight of 'cat' is True, not a number"),
        ('{"cat": null}', "weight of 'cat' is None, not a number"),
        ('{"cat": {"weight": 1}}', "not a number"),
        ('{"cat": NaN}', "finite"),
        ('{"cat": -2}', "not negative"),
        ("[1, 2, 3, 4]", "one JSON object"),
        ('{"cat": 1', "is not JSON"),
        ('{"cat": ' + "9" * 5000 + "}", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "lacks the weight of 4 of 4"),
    ],
)
def test_bad_json_is_refused_in_one_sentence(write, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_class_weights(write(text, "w.json"), NAMES)
    assert "w.json" in str(caught.value)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"cannot read the class weights .*none\.csv: No such file"
    ):
        load_class_weights(tmp_path / "none.csv", NAMES)
    with pytest.raises(InputError, match="cannot read the class weights"):
        load_class_weights(tmp_path, NAMES)


def test_model_with_two_classes_of_one_name_is_refused(write):
    with pytest.raises(InputError, match="two classes named 'cat'"):
        load_class_weights(write(GOOD), ["cat", "dog", "cat"])
