"""Label tables: the three formats mean the same, and every mistake gets one sentence."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from xception.data.catalog import open_source
from xception.data.decoding import read_image
from xception.data.label_tables import read_label_table
from xception.data.multi_label import open_multi_label
from xception.data.targets import SparseLabels
from xception.errors import InputError

CLASSES = ["cat", "dog", "sofa", "7"]
ROWS = [
    {"image": "a.png", "labels": ["sofa", "cat"], "weights": [0.5, 2.0], "absent": ["dog"]},
    {"image": "b c.png", "labels": ["dog"], "weights": [1.0], "absent": []},
    {"image": "d.png", "labels": [], "weights": [], "absent": ["7", "cat"]},
]


def as_csv(path, rows):
    names = list(rows[0])
    lines = [",".join(names)]
    for row in rows:
        cells = [row[name] for name in names]
        words = [c if isinstance(c, str) else "|".join(map(str, c)) for c in cells]
        lines.append(",".join(words))
    path.write_text("\n".join(lines) + "\n")


def as_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_parquet(path, rows, **options):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, **options)


WRITERS = {".csv": as_csv, ".jsonl": as_jsonl, ".parquet": as_parquet}


@pytest.fixture(params=WRITERS)
def write(request, tmp_path):
    def written(rows):
        path = tmp_path / f"table{request.param}"
        WRITERS[request.param](path, rows)
        return path

    return written


def told(labels: SparseLabels):
    return [
        (
            labels[i].class_ids.tolist(),
            None if labels[i].weights is None else labels[i].weights.tolist(),
            None if labels[i].absent_ids is None else labels[i].absent_ids.tolist(),
        )
        for i in range(len(labels))
    ]


def test_all_formats_say_the_same(write):
    table = read_label_table(write(ROWS), CLASSES)
    assert told(table.labels) == [
        ([0, 2], [2.0, 0.5], [1]),
        ([1], [1.0], []),
        ([], [], [0, 3]),
    ]
    names = [table.images.describe(i).rpartition("/")[2] for i in range(3)]
    assert names == ["a.png", "b c.png", "d.png"]


def test_labels_may_be_ids(write):
    rows = [{"image": "a.png", "labels": [2, 0]}, {"image": "b.png", "labels": [1]}]
    assert told(read_label_table(write(rows), CLASSES[:3]).labels) == [
        ([0, 2], None, None),
        ([1], None, None),
    ]


def test_a_class_called_like_a_number_is_meant_by_its_name(tmp_path):
    as_csv(tmp_path / "t.csv", [{"image": "a.png", "labels": ["7"]}])
    assert told(read_label_table(tmp_path / "t.csv", CLASSES).labels) == [([3], None, None)]


def changed(row, **cells):
    return [*ROWS[:row], ROWS[row] | cells, *ROWS[row + 1 :]]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            changed(1, labels=["dgo"]),
            r"(line|row) \d.*'dgo' is not in the class list; did .* 'dog'",
        ),
        (changed(0, labels=["cat", "cat"]), r"row \d \(.*a.png\): the label 0 is listed twice"),
        (changed(2, absent=[]), r"row \d \(.*d.png\): the list of labels is empty"),
        (changed(1, weights=[1.0, 2.0]), r"there are 2 weights for 1 labels"),
        (changed(1, weights=[-1.0]), r"the weight -1.0 of a label must be finite and not negative"),
        (changed(0, absent=["sofa"]), r"label 2 is listed both as present and as absent"),
        ([{"image": "a.png", "labels": [4]}], r"label 4 is not in the class list, whose ids .* 3"),
        ([{"image": "a.png", "labels": [-1]}], r"label -1 is not in the class list"),
        ([{"image": "a.png", "label": ["cat"]}], r"lacks the column 'labels'"),
        ([{"image": "a.png", "labels": ["cat"], "weigths": [1]}], r"did you mean 'weights'"),
        (
            [*changed(1, image="a.png"), *ROWS],
            r"has the image a.png twice, in rows [01] and [12]; give each image one row",
        ),
    ],
)
def test_wrong_table_gets_one_sentence(write, rows, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        read_label_table(write(rows), CLASSES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("t.csv", "image,labels\na.png\n", "line 2 has more or fewer columns"),
        ("t.csv", "image,labels\n,cat\n", "line 2: '' is no path"),
        ("t.csv", "image,labels\n", "has no rows"),
        ("t.csv", "image,labels,weights\na.png,cat,heavy\n", "weight 'heavy' is not a number"),
        ("t.csv", "image,labels,labels\na.png,cat,dog\n", "has the column 'labels' twice"),
        ("t.csv", "image,labels\na.png,--1\n", "the label '--1' is not in the class list"),
        ("t.jsonl", '\n{"image": "a.png", "lables": ["cat"]}\n', "lacks the column 'labels'"),
        ("t.jsonl", '{"image": "a.png", "labels": ["cat"]}\n{"ima\n', "line 2 is not JSON"),
        ("t.jsonl", '{"image": "a.png", "labels": "cat"}\n', "'labels' must be a list, not 'cat'"),
        ("t.jsonl", '{"image": "a.png", "labels": [true]}\n', "True is no label"),
        ("t.jsonl", "[1]\n", "line 1 must be an object"),
        ("t.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("t.jsonl", "9" * 5000, "line 1 is not JSON"),
        ("t.jsonl", '{"image": "a\\u0000.png", "labels": [0]}\n', "is no path of an image"),
        ("t.jsonl", '{"image": "\\ud800.png", "labels": [0]}\n', "is no path of an image"),
        ("t.jsonl", '{"image": 7, "labels": [0]}\n', "7 is no path of an image"),
        ("t.parquet", "no parquet", "can't be read as Parquet"),
        ("t.tsv", "x", "a label table is one of .csv"),
    ],
)
def test_damaged_table_gets_one_sentence(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=sentence) as caught:
        read_label_table(tmp_path / name, CLASSES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cat\ndog\ncat\n", r"class 'cat' twice, in lines 1 and 3"),
        ("cat\n\ndog\n", "line 2 is blank"),
        ("", "names no class"),
        (None, "cannot read the class list"),
    ],
)
def test_wrong_class_list_gets_one_sentence(tmp_path, text, sentence):
    as_csv(tmp_path / "train.csv", [{"image": "a.png", "labels": ["cat"]}])
    if text is not None:
        (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(InputError, match=sentence):
        open_multi_label(tmp_path, "train")


@pytest.fixture
def tables(tmp_path, save_image):
    """Twelve images in one table, and three in the table of those held out."""
    (tmp_path / "classes.txt").write_text("cat\ndog\nsofa\n")
    rows = []
    for i in range(15):
        save_image(tmp_path / "images" / f"{i}.png", seed=i)
        rows.append({"image": f"images/{i}.png", "labels": [i % 3, (i + 1) % 3][: 1 + i % 2]})
    as_jsonl(tmp_path / "train.jsonl", rows[:12])
    as_csv(tmp_path / "val.csv", rows[12:])
    return tmp_path


def test_folder_of_tables_is_a_source(tables, noise):
    train = open_source(str(tables), "train")
    held_out = open_source("multi-label", "evaluation", root=str(tables))
    assert (len(train), len(held_out)) == (12, 3)
    image, targets = train[5]
    assert np.array_equal(image.permute(1, 2, 0).numpy(), noise(9, 12, 3, seed=5))
    assert targets.class_ids.tolist() == [0, 2]
    assert held_out.describe(0) == f"{tables}/images/12.png"
    assert held_out[1][1].class_ids.tolist() == [1, 2]


def test_single_table_is_split(tables):
    parts = [
        open_multi_label(tables / "train.jsonl", split, validation_fraction=0.25, seed=3)
        for split in ("train", "evaluation")
    ]
    names = [[part.describe(i) for i in range(len(part))] for part in parts]
    assert [len(part) for part in names] == [9, 3]
    assert len({*names[0], *names[1]}) == 12
    assert [len(part.labels) for part in parts] == [9, 3]
    assert parts[1][0][1].class_ids.tolist() == parts[1].labels[0].class_ids.tolist()


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_may_hold_the_images(tables, tmp_path, nested):
    rows = []
    for i in range(7):
        encoded = (tables / "images" / f"{i}.png").read_bytes()
        cell = {"bytes": encoded, "path": None} if nested else encoded
        rows.append({"image": cell, "labels": ["dog"]})
    (tables / "train.jsonl").unlink()
    as_parquet(tables / "train.parquet", rows, row_group_size=3)
    source = open_multi_label(tables, "train")
    for i in (6, 0, 3, 5):
        assert source[i][0].equal(read_image(str(tables / "images" / f"{i}.png")))
    assert source.describe(4) == f"{tables}/train.parquet row 4"


def test_labels_take_tens_of_bytes_an_image():
    generator = np.random.default_rng(0)
    lists = [generator.choice(17_000, 5, replace=False).tolist() for _ in range(1000)]
    labels = SparseLabels.from_lists(lists, 17_000)
    assert labels.nbytes / 1000 <= 20  # 8 for the offset, 2 for each of five labels
    assert told(labels)[:2] == [(sorted(lists[0]), None, None), (sorted(lists[1]), None, None)]


def test_missing_table_gets_one_sentence(tables):
    (tables / "train.jsonl").unlink()
    with pytest.raises(InputError, match=r"holds no label table train\.csv"):
        open_multi_label(tables, "train")
    with pytest.raises(InputError, match="there is no label table"):
        open_multi_label(tables / "nowhere.csv", "train")
    with pytest.raises(InputError, match=r"'multi-label' needs data\.root"):
        open_source("multi-label", "train")
