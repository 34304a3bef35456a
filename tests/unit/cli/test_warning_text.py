import re
import warnings

import pytest
import torch
from torch.utils.data import DataLoader

from xception.cli.main import _show_warning
from xception.cli.warning_text import reword
from xception.errors import count_of


def test_reword_leaves_other_warnings_on_one_line():
    assert reword("One thing\n   and another.") == "One thing and another."


def test_reword_knows_the_installed_torchs_warning_of_too_many_loaders(capsys):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        DataLoader(torch.zeros(4), num_workers=4000)
    (told,) = [str(entry.message) for entry in caught if "worker" in str(entry.message)]
    _show_warning(told)
    line = capsys.readouterr().err
    assert re.fullmatch(
        r"xception: warning: more loader processes \(4000\) than usable CPU cores \(\d+\); "
        r"fewer may be faster\n",
        line,
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1000, "1,000 images")],
)
def test_count_of_has_the_right_plural(number, words):
    assert count_of(number, "image") == words
