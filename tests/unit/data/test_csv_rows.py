"""Label tables as spreadsheets and Windows write them."""

import numpy as np
import pytest

from xception.data.class_lists import read_class_list
from xception.data.label_tables import read_label_table
from xception.errors import InputError

CLASSES = ["cat", "dog", "Äpfel"]
PLAIN = "image,labels\nimg/0.jpg,cat|dog\nimg/1.jpg,Äpfel\n"
SEMICOLONS, TABS = PLAIN.replace(",", ";"), PLAIN.replace(",", "\t")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PLAIN, "utf-8"),
        (PLAIN.replace("\n", "\r\n"), "utf-8-sig"),
        (SEMICOLONS.replace("\n", "\r\n"), "utf-8-sig"),
        ("sep=;\r\n" + SEMICOLONS, "utf-8-sig"),
        (TABS, "utf-8"),
        (TABS.replace("\n", "\r\n"), "utf-16"),
        ("\ufeff" + TABS, "utf-16-be"),
        (PLAIN.replace("image,labels", " Image , LABELS"), "utf-8"),
        (PLAIN + "\r\n,\r\n\r\n", "utf-8"),
        (PLAIN.replace("img/0.jpg", '"img/0.jpg"'), "utf-8"),
        (PLAIN.replace("img/", "img\\"), "utf-8"),
    ],
)
def test_a_spreadsheets_table_is_the_plain_one(text, encoding, tmp_path):
    (tmp_path / "img").mkdir()
    for number in range(2):
        (tmp_path / "img" / f"{number}.jpg").write_bytes(b"%d" % number)
    path = tmp_path / "train.csv"
    path.write_bytes(text.encode(encoding))
    table = read_label_table(path, CLASSES)
    assert [table.images.read(i) for i in range(len(table.images))] == [b"0", b"1"]
    assert table.labels[0].class_ids.tolist() == [0, 1]
    assert table.labels[1].class_ids.tolist() == [2]


def test_between_semicolons_a_comma_is_decimal(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("image;labels;weights\na.jpg;cat|dog;0,5|1,25\n")
    weights = read_label_table(path, CLASSES).labels.weights
    np.testing.assert_array_equal(weights, [0.5, 1.25])


def test_between_commas_a_decimal_comma_is_no_number(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text('image,labels,weights\na.jpg,cat|dog,"0,5|1"\n')
    with pytest.raises(InputError, match="the weight '0,5' is not a number"):
        read_label_table(path, CLASSES)


def test_a_backslash_that_is_part_of_a_name_stays(tmp_path):
    (tmp_path / "a\\b.jpg").write_bytes(b"own")
    path = tmp_path / "train.csv"
    path.write_text("image,labels\na\\b.jpg,cat\n")
    assert read_label_table(path, CLASSES).images.read(0) == b"own"


def test_letters_that_could_only_be_guessed_are_refused_with_the_remedy(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(PLAIN.encode("cp1252"))
    with pytest.raises(InputError, match=r"not a text file in UTF-8; save it as UTF-8 \(in Excel"):
        read_label_table(path, CLASSES)


def test_a_wrong_row_is_named_by_its_line_in_the_file(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("sep=;\nimage;labels\na.jpg;cat\n\nb.jpg;rat\n")
    with pytest.raises(InputError, match=r"train\.csv line 5.*'rat' is not in the class list"):
        read_label_table(path, CLASSES)


def test_a_class_list_has_lines_where_an_editor_shows_them(tmp_path):
    path = tmp_path / "classes.txt"
    names = ["sofa\u2028bed", "a\x85b", "c\x0bd"]  # str.splitlines would make six of them
    path.write_text("\n".join(names), encoding="utf-8")
    assert read_class_list(path) == names


def test_blank_lines_at_the_end_of_a_class_list_are_no_classes(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n\r\n\r\n")
    assert read_class_list(path) == ["cat", "dog"]
    path.write_text("cat\n\ndog\n")
    with pytest.raises(InputError, match="line 2 is blank"):
        read_class_list(path)
