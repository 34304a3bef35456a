"""``xception data pack``, ``verify`` and ``inspect`` on small folders, tables and tar files."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from labelled_pictures import CLASSES, COUNT, LABELS
from PIL import Image

from xception.data.catalog import open_source
from xception.data.decoding import read_image
from xception.data.manifest import Reencoding, read_manifest
from xception.data.reencoding import reencode


def contents(source):
    """Pixels, labels and weights of every image."""
    found = []
    for i in range(len(source)):
        image, targets = source[i]
        weights = None if targets.weights is None else targets.weights.tolist()
        found.append((image.numpy().tobytes(), targets.class_ids.tolist(), weights))
    return found


def test_shards_hold_what_the_table_holds(pack, table, command):
    shards = pack()
    manifest = read_manifest(shards)
    assert [shard.records for shard in manifest.shards] == [4, 4, 3]
    assert manifest.class_names == CLASSES
    assert manifest.images_per_class == [sum(c in own for own in LABELS) for c in range(3)]
    packed, plain = open_source(str(shards), "train"), open_source(str(table), "train")
    assert contents(packed) == contents(plain)
    assert packed.describe(9) == f"{shards / manifest.shards[2].file} record 1"
    assert sorted(path.name for path in shards.iterdir()) == [
        "manifest.json",
        *(shard.file for shard in manifest.shards),
    ]
    assert command("data", "verify", shards, "--workers", 1) == (
        0,
        "11 images in 3 shards: all is well\n",
        "",
    )


def test_any_number_of_processes_packs_the_same_bytes(pack):
    one, two = pack(), pack("--workers", 2, target="again")
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {
        p.name: p.read_bytes() for p in two.iterdir()
    }


def test_packing_again_changes_nothing(pack):
    before = {path: path.stat().st_mtime_ns for path in pack().iterdir()}
    assert before == {path: path.stat().st_mtime_ns for path in pack().iterdir()}


def test_an_image_that_changed_makes_another_packing(pack, table, command):
    """Else the repaired image would silently stay out, or an old one stay in."""
    shards = pack()
    image = next(path for path in table.iterdir() if path.suffix in (".png", ".jpg"))
    image.write_bytes(image.read_bytes() + b"\0")
    words = ("data", "pack", table / "train.jsonl", shards, "--from", "table")
    code, _, err = command(*words, "--images-per-shard", 4)
    assert (code, "changed images are others" in err) == (2, True)


def test_another_packing_is_not_mixed_in(pack, command, table, tmp_path):
    shards = pack()
    before = {p: p.read_bytes() for p in shards.iterdir()}
    words = ["data", "pack", table / "train.jsonl", shards, "--from", "table"]
    code, _, err = command(*words, "--short-side", 16)
    assert code == 2
    assert "which has other images, labels or options" in err
    assert before == {p: p.read_bytes() for p in shards.iterdir()}
    other = pack("--short-side", 16, target="other")
    stray = next(other.glob("*.array_record"))
    (shards / stray.name).write_bytes(stray.read_bytes())
    code, _, err = command("data", "inspect", shards)
    assert code == 2
    assert "is not of the packing" in err
    code, out, _ = command("data", "verify", shards, "--workers", 1)
    assert code == 1
    assert "not of the packing" in out
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "holiday.jpg").touch()
    code, _, err = command(*words[:3], tmp_path / "full", "--from", "table")
    assert (code, "holds holiday.jpg" in err) == (2, True)


def test_reencoding_shrinks_large_images_only(pack, table):
    shards = pack("--short-side", 24, "--quality", 80)
    assert read_manifest(shards).reencoding == Reencoding(24, 80)
    packed, plain = open_source(str(shards), "train"), open_source(str(table), "train")
    for i in range(COUNT):
        image, original = packed[i][0], plain[i][0]
        if min(original.shape[1:]) <= 24:
            assert torch.equal(image, original)
    wide = np.zeros((60, 90, 3), np.uint8)
    wide[:, 45:] = (200, 100, 50)
    stream = io.BytesIO()
    Image.fromarray(wide).save(stream, "PNG")
    small = Image.open(io.BytesIO(reencode(stream.getvalue(), Reencoding(24, 95))))
    assert small.format == "JPEG"
    assert small.size == (36, 24)
    assert np.abs(np.asarray(small)[12, 30].astype(int) - [200, 100, 50]).max() <= 3


def test_unreadable_images_are_left_out_and_named(pack, table, command, tmp_path):
    (table / "3.png").unlink()
    words = ["data", "pack", table / "train.jsonl", tmp_path / "shards", "--from", "table"]
    code, out, err = command(*words, "--workers", 1)
    assert code == 1
    assert out.startswith("10 images in 1 shard,")
    assert "3.png: No such file" in err
    source = open_source(str(tmp_path / "shards"), "train")
    assert [row[1] for row in contents(source)] == [LABELS[i] for i in range(COUNT) if i != 3]


def test_folder_of_classes_keeps_one_label(command, tmp_path):
    for name, count in (("b", 3), ("a", 2)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((9, 9, 3), 10 * i + ord(name) - 90, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    words = ["data", "pack", tmp_path / "images", tmp_path / "shards", "--from", "folder"]
    assert command(*words, "--workers", 1)[0] == 0
    source = open_source(str(tmp_path / "shards"), "train")
    assert source.labels.tolist() == [0, 0, 1, 1, 1]
    assert source.class_names == ["a", "b"]
    assert source[4][1] == 1
    assert source[4][0].equal(read_image(str(tmp_path / "images" / "b" / "2.png")))


def test_parquet_with_the_images_in_it_is_packed(command, table, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    files = [f"{i}.jpg" if i == 4 else f"{i}.png" for i in range(COUNT)]
    rows = {
        "image": [(table / name).read_bytes() for name in files],
        "labels": [[CLASSES[c] for c in own] for own in LABELS],
        "weights": [[1.0 + i] * len(own) for i, own in enumerate(LABELS)],
    }
    parquet.write_table(arrow.table(rows), table / "images.parquet", row_group_size=3)
    words = ["data", "pack", table / "images.parquet", tmp_path / "shards", "--from", "parquet"]
    assert command(*words, "--images-per-shard", 5, "--workers", 2)[0] == 0
    packed = open_source(str(tmp_path / "shards"), "train")
    assert contents(packed) == contents(open_source(str(table), "train"))
    words[2] = table / "train.jsonl"
    code, _, err = command(*words)
    assert (code, "does not end in .parquet" in err) == (2, True)


def test_a_missing_option_is_named_as_it_is_typed(command, table, tmp_path):
    code, _, err = command("data", "pack", table, tmp_path / "shards")
    assert (code, err) == (2, "xception: error: missing: --from; see xception data pack --help\n")


def test_tar_files_are_packed(command, table, tmp_path):
    with tarfile.open(tmp_path / "samples.tar", "w") as archive:
        for i in range(4):
            archive.add(table / f"{i}.png", f"train/{i}.png")
            text = json.dumps({"labels": [CLASSES[c] for c in LABELS[i]]}).encode()
            if i == 1:
                text = b"dog"
            head = tarfile.TarInfo(f"train/{i}.{'cls' if i == 1 else 'json'}")
            head.size = len(text)
            archive.addfile(head, io.BytesIO(text))
    words = ["data", "pack", tmp_path / "samples.tar", tmp_path / "shards", "--from", "tar"]
    assert command(*words, "--classes", table / "classes.txt", "--workers", 1)[0] == 0
    source = open_source(str(tmp_path / "shards"), "train")
    assert [source[i][1].class_ids.tolist() for i in range(4)] == LABELS[:4]
    for i in range(4):
        assert source[i][0].equal(read_image(str(table / f"{i}.png")))


def test_verify_finds_what_is_wrong(pack, command, table):
    (table / "6.png").write_bytes((table / "5.png").read_bytes())  # a duplicate
    (table / "8.png").write_bytes((table / "8.png").read_bytes()[:60])  # undecodable
    shards = pack()
    names = [shard.file for shard in read_manifest(shards).shards]
    code, out, _ = command("data", "verify", shards, "--workers", 1)
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith(f"{names[2]} record 0 (8.png): ")
    assert lines[1] == f"{names[1]} record 2: the same image as {names[1]} record 1"
    assert lines[2:] == ["11 images in 3 shards: 2 problems"]
    # cut, changed and missing
    whole = (shards / names[0]).read_bytes()
    (shards / names[0]).write_bytes(whole[: len(whole) // 2])
    changed = bytearray((shards / names[1]).read_bytes())
    at = changed.index(b'{"key"')
    changed[at + 60] ^= 255
    (shards / names[1]).write_bytes(changed)
    (shards / names[2]).unlink()
    code, out, _ = command("data", "verify", shards, "--workers", 2)
    assert code == 1
    assert f"{names[0]}: truncated" in out
    assert f"{names[1]}: changed since it was packed" in out
    assert f"{names[2]}: missing" in out


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda path: path.write_text(path.read_text().replace("cat", "rat")), "was changed"),
        (lambda path: path.write_text("{}"), "is not a manifest"),
        (lambda path: next(path.parent.glob("*00001*")).unlink(), "is missing"),
        (
            lambda path: next(path.parent.glob("*00001*")).write_bytes(b"short"),
            "truncated or of another packing",
        ),
    ],
)
def test_harmed_packing_is_refused_in_one_sentence(pack, command, small_model, harm, sentence):
    shards = pack()
    harm(shards / "manifest.json")
    code, _, err = command("evaluate", small_model, shards)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1


def test_inspect_counts_and_draws(pack, command, tmp_path):
    shards = pack()
    sheet = tmp_path / "sheet.png"
    code, out, _ = command("data", "inspect", shards, "--json", "--contact-sheet", sheet)
    found = json.loads(out)
    assert code == 0
    assert (found["images"], found["shards"], found["classes"]) == (11, 3, 3)
    assert found["labels"] == sum(map(len, LABELS))
    assert found["images_per_class"]["dog"] == sum(1 in own for own in LABELS)
    assert Image.open(sheet).size == (4 * 96, 3 * 110)
    code, out, _ = command("data", "inspect", shards)
    assert "the commonest labels" in out
