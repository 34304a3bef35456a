"""Folders, tables and shards: the same batches however many processes read them."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from xception.data.catalog import open_source
from xception.data.folders import read_class_folders
from xception.data.label_tables import read_label_table
from xception.data.loading import TrainingLoader
from xception.data.packing import Packing, pack
from xception.data.transforms import TrainingTransform

PICTURES = 29


@pytest.fixture
def shards(tmp_path):
    """29 noisy pictures with weighted labels in ten shards: four batches of 6 to an epoch."""
    generator = np.random.default_rng(0)
    rows = []
    for i in range(PICTURES):
        pixels = generator.integers(0, 256, (20 + i, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        labels = [i % 3] if i % 2 else [i % 3, (i + 1) % 3]
        row = {"image": f"{i}.png", "labels": labels, "weights": [1.0 + i] * len(labels)}
        rows.append(json.dumps(row))
    (tmp_path / "table.jsonl").write_text("\n".join(rows))
    table = read_label_table(tmp_path / "table.jsonl", ["cat", "dog", "sofa"])
    target = tmp_path / "shards"
    pack(Packing(table.images, table.labels, ["cat", "dog", "sofa"], True, 3), target)
    return target


@pytest.fixture
def places(shards, tmp_path):
    """The same pictures as a table, and with one label each in a folder; both packed, too."""
    (tmp_path / "classes.txt").write_text("cat\ndog\nsofa")
    for i in range(PICTURES):
        folder = tmp_path / "folder" / ["cat", "dog", "sofa"][i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes((tmp_path / f"{i}.png").read_bytes())
    images, labels, names = read_class_folders(tmp_path / "folder")
    pack(Packing(images, labels, names, False, 3), tmp_path / "folder-shards")
    return {
        "shards": shards,
        "table": tmp_path / "table.jsonl",
        "folder": tmp_path / "folder",
        "folder-shards": tmp_path / "folder-shards",
    }


def labels_of(part):
    """Classes and weights of a batch with several labels to an image, or with one."""
    if part.targets is None:
        return part.labels.tolist(), None
    return part.targets.class_ids.tolist(), part.targets.weights.tolist()


def steps(shards, world_size, seen=0, until=None, workers=0):
    source = open_source(str(shards), "train")
    augment = TrainingTransform(size=16)
    loaders = [
        TrainingLoader(
            source,
            augment,
            batch_size=6,
            seed=5,
            world_size=world_size,
            rank=rank,
            samples_seen=seen,
            num_workers=workers,
        )
        for rank in range(world_size)
    ]
    found = []
    while seen < until:
        for parts in zip(*loaders, strict=True):
            found.append(
                (
                    torch.cat([part.images for part in parts]),
                    [label for part in parts for label in labels_of(part)[0]],
                    [weight for part in parts for weight in labels_of(part)[1] or []],
                )
            )
            seen += 6
            if seen == until:
                break
    for loader in loaders:
        loader.close()
    return found


@pytest.mark.parametrize("pair", [("table", "shards"), ("folder", "folder-shards")])
def test_batches_are_the_same_from_any_place_on_any_number_of_processes(places, pair):
    """On 1, 2 and 3 processes, and changed from 3 to 2 within an epoch: down to the pixels."""
    whole = steps(places[pair[0]], 1, until=36)
    assert len(whole) == 6  # an epoch and a half
    for place in (places[name] for name in pair):
        compare(whole, steps(place, 1, until=36))
        compare(whole, steps(place, 2, until=36))
        compare(whole, steps(place, 3, until=36))
        compare(whole, steps(place, 3, until=12) + steps(place, 2, seen=12, until=36))


SCRIPT = """
import sys
from xception.data.catalog import open_source
from xception.data.loading import EvaluationLoader, TrainingLoader
from xception.data.preprocessing import Preprocessing
from xception.data.transforms import TrainingTransform

print("script")
source = open_source(sys.argv[1], "train")
source[0]  # ArrayRecord's threads start here, before the loader processes
loader = TrainingLoader(source, TrainingTransform(size=16), batch_size=5, num_workers=1)
print(sum(len(batch.indices) for batch in loader))
loader.close()
loader = EvaluationLoader(source, Preprocessing(size=16), batch_size=4, num_workers=1)
print(sorted(index for batch in loader for index in batch.indices.tolist()))
"""


def test_a_script_without_a_main_guard_is_run_once(shards, tmp_path):
    """Loader processes of shards are spawned; Python would run the script again in each."""
    (tmp_path / "script.py").write_text(SCRIPT)
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(shards)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout.splitlines() == ["script", "25", str(list(range(PICTURES)))]
    assert "Error" not in ran.stderr


@pytest.mark.slow  # a test process with hundreds of tests behind it once died while it spawned
def test_shards_give_the_same_batches_with_loader_processes(shards):
    compare(steps(shards, 1, until=24), steps(shards, 1, until=24, workers=2))


def compare(one, other):
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert torch.equal(first[0], second[0])
        assert first[1:] == second[1:]
