import pytest

from xception.data.catalog import data_names, open_source
from xception.errors import InputError


def test_open_source_knows_names_and_folders(tmp_path, save_image):
    for i in range(5):
        save_image(tmp_path / "a" / f"{i}.png")
    assert len(open_source("digits", "evaluation")) == 360
    by_path = open_source(str(tmp_path), "evaluation", validation_fraction=0.4, seed=1)
    by_root = open_source(
        "folder", "evaluation", root=str(tmp_path), validation_fraction=0.4, seed=1
    )
    assert len(by_path) == 2
    assert [by_path.describe(i) for i in range(2)] == [by_root.describe(i) for i in range(2)]


def test_open_source_names_the_nearest():
    with pytest.raises(InputError, match="'cifar-10'; did you mean 'cifar10'"):
        open_source("cifar-10", "train")
    with pytest.raises(InputError, match=r"'digit'; did you mean 'digits'.*food101"):
        open_source("digit", "train")


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_open_source_asks_for_a_root(name):
    with pytest.raises(InputError, match=r"data\.root"):
        open_source(name, "train")


def test_data_names_hold_the_stock_sets():
    stock = {"cifar10", "cifar100", "fashion-mnist", "flowers102", "food101"}
    assert {"digits", "imagenet"} | stock <= set(data_names())
