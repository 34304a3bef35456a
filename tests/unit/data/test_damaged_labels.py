"""Label tables, class lists, tar files, manifests with damaged bytes: one sentence or a table."""

import contextlib
import io
import json
import tarfile
from functools import partial

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from xception.data.class_lists import read_class_list
from xception.data.label_tables import read_label_table
from xception.data.manifest import parse_manifest
from xception.data.records import Record, decode_record, encode_record
from xception.data.tar_images import read_tars
from xception.data.targets import SparseLabels
from xception.errors import InputError
from xception.metrics.class_weights import load_class_weights

CLASSES = ["cat", "dog", "3"]
ROWS = [
    {"image": "a.png", "labels": ["cat", 1], "weights": [1.0, 0.5], "absent": ["3"]},
    {"image": "b.png", "labels": [], "weights": [], "absent": [0, 1]},
]


def tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in (("a.jpg", b"x"), ("a.json", json.dumps(ROWS[0]).encode())):
            head = tarfile.TarInfo(name)
            head.size = len(content)
            archive.addfile(head, io.BytesIO(content))
    return stream.getvalue()


def parquet():
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    stream = io.BytesIO()
    files.write_table(arrow.table({"image": ["a", "b"], "labels": [["cat"], ["dog", "3"]]}), stream)
    return stream.getvalue()


MANIFEST = {"format": "xception-shards", "version": 1, "packing": "0", "class_names": CLASSES}
READERS = {
    "t.csv": (
        lambda: b"image,labels,weights\na.png,cat|1,1|0.5\nb.png,3,2\n",
        partial(read_label_table, class_names=CLASSES),
    ),
    "t.jsonl": (
        lambda: "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
        partial(read_label_table, class_names=CLASSES),
    ),
    "t.parquet": (parquet, partial(read_label_table, class_names=CLASSES)),
    "t.tar": (tar, partial(read_tars, class_names=CLASSES)),
    "classes.txt": (lambda: b"cat\ndog\n3\n", read_class_list),
    "manifest.json": (lambda: json.dumps(MANIFEST | {"sha256": "0"}).encode(), parse_manifest),
    "w.csv": (
        lambda: b"class,weight\ncat,1\ndog,2\n3,0\n",
        partial(load_class_weights, class_names=CLASSES),
    ),
    "w.json": (
        lambda: b'{"cat": 1, "dog": 2.5, "3": 0}',
        partial(load_class_weights, class_names=CLASSES),
    ),
}


@pytest.mark.parametrize("name", READERS)
@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_file_is_read_or_refused_in_one_sentence(name, tmp_path, data):
    make, read = READERS[name]
    content = bytearray(make())
    for _ in range(data.draw(st.integers(0, 4), "changes")):
        at = data.draw(st.integers(0, len(content)), "place")
        kind = data.draw(st.sampled_from(["cut", "insert", "replace"]), "kind")
        new = data.draw(st.binary(max_size=6), "bytes")
        if kind == "cut":
            del content[at : at + len(new)]
        else:
            content[at : at + (len(new) if kind == "replace" else 0)] = new
    path = tmp_path / name
    path.write_bytes(content)
    try:
        found = read(path)
    except InputError as error:
        told = str(error)
    else:
        told = None
    if told is not None:
        assert "\n" not in told
        assert str(path) in told
        return
    if hasattr(found, "labels"):
        labels = found.labels
        assert isinstance(labels, SparseLabels)
        assert len(labels) == len(found.images) > 0
        for index in range(len(labels)):
            ids = labels[index].class_ids.tolist()
            assert ids == sorted(set(ids))
            assert all(0 <= class_id < len(CLASSES) for class_id in ids)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=40), st.integers(0, 60))
@example(b"[" * 100_000 + b"\n", 60)
def test_damaged_record_is_refused_as_damaged(noise, at):
    import numpy as np

    from xception.data.targets import ImageTargets

    whole = encode_record(Record("a.jpg", ImageTargets(np.array([1, 2])), b"\xff\xd8image"))
    damaged = noise if at == 60 else whole[:at] + noise + whole[at + len(noise) :]
    with contextlib.suppress(ValueError, RuntimeError):  # what `ShardRecords` takes for damage
        assert isinstance(decode_record(damaged), Record)


def test_an_image_in_a_tar_with_a_point_in_its_name_is_not_lost(tmp_path):
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("a.png", "a.cls", "photo.2021.png", "photo.2021.cls"):
            head = tarfile.TarInfo(name)
            head.size = len(b"cat")
            archive.addfile(head, io.BytesIO(b"cat"))
    with pytest.raises(InputError, match=r"photo\.2021\.png has a point in its name"):
        read_tars(path, CLASSES)
