"""A small table in the layout of Open Images' image-level labels."""

import pytest
import torch
from torchvision.io import write_jpeg

from xception.data.catalog import open_source
from xception.errors import InputError

CLASSES = "LabelName,DisplayName\n/m/0a,Cat\n/m/0b,Dog\n/m/0c,Sofa\n/m/0d,Dog\n"
HEADER = "ImageID,Source,LabelName,Confidence\n"
TRAIN = (
    HEADER
    + "000002b66c9c498e,verification,/m/0a,1\n"
    + "000002b97e5471a0,verification,/m/0c,0\n"
    + "000002b66c9c498e,verification,/m/0c,0\n"
    + "000002b66c9c498e,crowdsource-verification,/m/0a,1\n"  # said twice: counts once
    + "000002b97e5471a0,verification,/m/0b,1\n"
    + "000002b97e5471a0,crowdsource-verification,/m/0d,1\n"
    + "000002b97e5471a0,verification,/m/0d,0\n"  # contradicted: unknown
    + "ffffffffffffffff,verification,/m/0d,0\n"  # nothing present, but something absent
)


@pytest.fixture
def public(tmp_path):
    (tmp_path / "oidv7-class-descriptions.csv").write_text(CLASSES)
    (tmp_path / "train-annotations-human-imagelabels.csv").write_text(TRAIN)
    (tmp_path / "validation-annotations-human-imagelabels.csv").write_text(
        f"{HEADER}00000000000000ff,verification,/m/0b,1\n"
    )
    for folder, number in (("train", "000002b66c9c498e"), ("validation", "00000000000000ff")):
        (tmp_path / folder).mkdir()
        write_jpeg(torch.zeros(3, 8, 9, dtype=torch.uint8), f"{tmp_path}/{folder}/{number}.jpg")
    return tmp_path


def test_verified_labels_are_present_absent_or_unknown(public):
    source = open_source("open-images", "train", root=str(public))
    assert source.class_names == ["Cat", "Dog (/m/0b)", "Sofa", "Dog (/m/0d)"]
    assert [source.describe(i) for i in range(3)] == [
        f"{public}/train/{name}.jpg"
        for name in ("000002b66c9c498e", "000002b97e5471a0", "ffffffffffffffff")
    ]
    labels = [source.labels[i] for i in range(3)]
    assert [x.class_ids.tolist() for x in labels] == [[0], [1], []]
    assert [x.absent_ids.tolist() for x in labels] == [[2], [2], [3]]
    assert source[0][0].shape == (3, 8, 9)
    held_out = open_source("open-images", "evaluation", root=str(public))
    assert held_out[0][1].class_ids.tolist() == [1]


def test_only_trainable_classes_are_kept(public):
    (public / "classes-trainable.txt").write_text("/m/0a\n/m/0c\n")
    source = open_source("open-images", "train", root=str(public))
    assert source.class_names == ["Cat", "Sofa"]
    assert [source.labels[i].class_ids.tolist() for i in range(len(source))] == [[0], []]
    assert [source.labels[i].absent_ids.tolist() for i in range(len(source))] == [[1], [1]]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("train", f"{HEADER}000002b66c9c498e,v,/m/0z,1\n", "line 2: the label '/m/0z' is not"),
        ("train", f"{HEADER}000002b66c9c498e,v,/m/0a,0.7\n", "with confidence 0 or 1"),
        ("train", f"{HEADER}cat.jpg,v,/m/0a,1\n", "16 hexadecimal digits"),
        ("train", "ImageID,LabelName\n", "must be ImageID,Source,LabelName,Confidence"),
        ("train", f"{HEADER}000002b66c9c498e,v\n", "line 2 has not the four columns"),
        ("train", HEADER, "has no label"),
        ("train", None, "download Open Images"),
        ("classes", "/m/0a,Cat\n/m/0a,Cat again\n", "class '/m/0a' twice"),
        ("classes", None, r"no class-descriptions\.csv"),
    ],
)
def test_other_layouts_get_one_sentence(public, name, text, sentence):
    path = public / (
        "oidv7-class-descriptions.csv"
        if name == "classes"
        else "train-annotations-human-imagelabels.csv"
    )
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=sentence) as caught:
        open_source("open-images", "train", root=str(public))
    assert "\n" not in str(caught.value)
