"""Training from shards: the same batches however many processes read them."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from xception.data.catalog import open_source
from xception.data.label_tables import read_label_table
from xception.data.loading import TrainingLoader
from xception.data.packing import Packing, pack
from xception.data.transforms import TrainingTransform


@pytest.fixture
def shards(tmp_path):
    """Eleven noisy pictures of different sizes with weighted labels, in four shards."""
    generator = np.random.default_rng(0)
    rows = []
    for i in range(11):
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
                    torch.cat([part.targets.class_ids for part in parts]).tolist(),
                    torch.cat([part.targets.weights for part in parts]).tolist(),
                )
            )
            seen += 6
            if seen == until:
                break
    for loader in loaders:
        loader.close()
    return found


def test_shards_give_the_same_batches_on_any_number_of_processes(shards):
    """On 1, 2 and 3 processes, and changed from 3 to 2 in the middle: down to the pixels."""
    whole = steps(shards, 1, until=24)
    assert len(whole) == 4
    compare(whole, steps(shards, 2, until=24))
    compare(whole, steps(shards, 3, until=12) + steps(shards, 2, seen=12, until=24))


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
    assert ran.stdout.splitlines() == ["script", "10", str(list(range(11)))]
    assert "Error" not in ran.stderr


def test_shards_give_the_same_batches_with_loader_processes(shards):
    compare(steps(shards, 1, until=24), steps(shards, 1, until=24, workers=2))


def compare(one, other):
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert torch.equal(first[0], second[0])
        assert first[1:] == second[1:]
