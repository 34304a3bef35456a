"""The data module under Lightning's Trainer, and through its recipe keys."""

import gc
import inspect
import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import jsonargparse
import lightning
import numpy as np
import pytest
import torch
from PIL import Image

from xception.data.cache import CachedSource
from xception.data.loading import Batch
from xception.data.module import ImageData
from xception.errors import InputError

SMALL = {"image_size": 8, "crop": "shift", "num_workers": 0}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two classes of ten images; in the blue one, an image that is none."""
    random = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (tmp_path / name).mkdir()
        for i in range(10):
            pixels = random.integers(0, 60, (12, 10, 3), dtype=np.uint8)
            pixels[..., channel] = 250
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    (tmp_path / "blue" / "3.png").write_text("no image")
    return tmp_path


class Recorder(lightning.LightningModule):
    """Trains one number, and writes down the batches that come."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[Batch] = []
        self.counted: list[int] = []

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        assert isinstance(batch, Batch)
        self.seen.append(batch)
        self.counted.append(self.trainer.datamodule.train_dataloader().samples_seen)
        return self.weight * 0

    def validation_step(self, batch: Batch, _: int) -> None:
        assert isinstance(batch, Batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(tmp_path: Path, **arguments) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
        **arguments,
    )


def test_image_data_serves_a_trainer(folder, tmp_path):
    data = ImageData(root=str(folder), batch_size=4, **SMALL)
    module = Recorder()
    trainer(tmp_path, max_epochs=2, accumulate_grad_batches=2).fit(module, datamodule=data)
    assert data.class_names == ["blue", "red"]
    assert (len(data.train_source), len(data.evaluation_source)) == (16, 4)
    # 4 steps of 2 micro-batches in each of 2 epochs, and every batch counted while it is used
    assert [len(batch.labels) for batch in module.seen] == [2] * 16
    assert module.counted == list(range(2, 33, 2))
    for batch in module.seen:
        assert batch.images.shape == (2, 3, 8, 8)
    skipped = {entry for batch in module.seen for entry in batch.skipped}
    held_out = {data.evaluation_source.describe(i) for i in range(4)}
    damaged = str(folder / "blue" / "3.png")
    assert damaged in held_out or {name.split(": ")[0] for _, name in skipped} == {damaged}


def test_image_data_leaves_no_process_behind(folder, tmp_path):
    data = ImageData(root=str(folder), batch_size=4, image_size=8, crop="shift", num_workers=1)
    before = set(multiprocessing.active_children())
    module = Recorder()
    trainer(tmp_path, max_epochs=2).fit(module, datamodule=data)
    assert len(module.seen) == 8
    gc.collect()
    assert set(multiprocessing.active_children()) == before
    assert len(list(data.train_dataloader())) == 4  # and it can be used again
    data.teardown("fit")


def test_image_data_slices_by_the_trainers_ranks(folder):
    def batches(world_size: int, rank: int, accumulation: int) -> list[Batch]:
        data = ImageData(root=str(folder), batch_size=12, seed=4, **SMALL)
        data.setup()
        data.trainer = SimpleNamespace(
            world_size=world_size,
            global_rank=rank,
            accumulate_grad_batches=accumulation,
            num_devices=world_size,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )
        return list(data.train_dataloader())

    (whole,) = batches(1, 0, 1)
    for world_size, accumulation in ((2, 1), (3, 1), (2, 3), (1, 4)):
        ranks = [batches(world_size, rank, accumulation) for rank in range(world_size)]
        in_turn = [ranks[r][part] for part in range(accumulation) for r in range(world_size)]
        assert torch.equal(torch.cat([b.images for b in in_turn]), whole.images)
        assert torch.equal(torch.cat([b.labels for b in in_turn]), whole.labels)


def test_image_data_goes_on_where_samples_seen_says(folder, tmp_path):
    whole = Recorder()
    data = ImageData(root=str(folder), batch_size=4, **SMALL)
    trainer(tmp_path, max_epochs=1).fit(whole, datamodule=data)
    again = ImageData(root=str(folder), batch_size=4, **SMALL)
    again.setup()
    loader = again.train_dataloader()
    loader.load_state_dict({"samples_seen": 8})
    rest = list(loader)
    assert len(rest) == 2
    for ours, theirs in zip(rest, whole.seen[2:], strict=True):
        assert torch.equal(ours.images, theirs.images)


def test_image_data_refuses_a_batch_that_does_not_divide(folder, tmp_path):
    data = ImageData(root=str(folder), batch_size=5, **SMALL)
    with pytest.raises(InputError, match=r"5 images .* 1 processes x 2 .* such as 4"):
        trainer(tmp_path, max_epochs=1, accumulate_grad_batches=2).fit(Recorder(), datamodule=data)


def test_image_data_keeps_small_images_in_memory(folder):
    data = ImageData(root=str(folder), batch_size=4, image_size=8, crop="shift")
    data.setup()
    assert isinstance(data.train_source, CachedSource)
    assert data.train_dataloader()._loader.num_workers == 0  # "auto"
    plain = ImageData(root=str(folder), batch_size=4, image_size=8, crop="shift", cache=False)
    plain.setup()
    assert not isinstance(plain.train_source, CachedSource)
    for ours, theirs in zip(data.train_dataloader(), plain.train_dataloader(), strict=True):
        assert torch.equal(ours.images, theirs.images)


def test_image_data_fills_the_cache_before_loader_processes_start(folder):
    data = ImageData(root=str(folder), batch_size=4, image_size=8, num_workers=1, cache=True)
    data.setup()
    assert isinstance(data.train_source, CachedSource)
    assert len(data.train_source._kept) == 16


def test_image_data_evaluates_as_its_preprocessing_says(folder):
    data = ImageData(
        root=str(folder),
        batch_size=4,
        **SMALL,
        evaluation_mode="resize-crop",
        crop_fraction=0.8,
        interpolation="bicubic",
    )
    data.setup()
    found = torch.cat([batch.images for batch in data.val_dataloader()])
    readable = []
    for index in range(len(data.evaluation_source)):
        try:
            image, _ = data.evaluation_source[index]
        except InputError:
            continue
        readable.append(torch.equal(found[index], data.preprocessing(image)))
    assert len(readable) >= 3
    assert all(readable)
    described = data.preprocessing.to_dict()
    assert (described["mode"], described["interpolation"]) == ("resize-crop", "bicubic")
    assert data.evaluation_batch_size == 4


def test_image_data_turns_color_distortion_off_as_a_whole():
    on, off = (ImageData(hue=0.1, color_distortion=c).transform for c in (True, False))
    assert on.hue == 0.1
    assert (off.brightness, off.saturation, off.contrast, off.hue) == (0, None, None, 0)


def test_image_datas_signature_is_the_schema_of_recipe_keys():
    parser = jsonargparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    parser.add_class_arguments(ImageData, "data")
    keys = parser.parse_object(
        {"data": {"name": "digits", "crop_area": [0.1, 1.0], "saturation": None, "cache": True}}
    )
    data = ImageData(**keys.data.as_dict())
    assert data.transform.crop_area == (0.1, 1.0)
    assert data.transform.saturation is None
    wrong = [{"crop": "centre"}, {"batch_sizes": 3}, {"flip": "perhaps"}, {"crop_area": [0.1]}]
    for key in wrong:
        with pytest.raises(jsonargparse.ArgumentError):
            parser.parse_object({"data": key})
    help_text = " ".join(parser.format_help().split())
    for told in ("Global batch: images per optimizer step", "in pixels", "(type: "):
        assert told in help_text
    documented = [action for action in parser._actions if action.dest.startswith("data.")]
    assert len(documented) == len(inspect.signature(ImageData).parameters)
    assert all(action.help for action in documented)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "cifra10"}, "did you mean 'cifar10'"),
        ({}, r"data\.root"),
        ({"name": "digits", "batch_size": 2000}, "1,437 images, fewer than one batch of 2,000"),
        ({"name": "digits", "num_workers": -1}, "num_workers is -1"),
    ],
)
def test_image_data_tells_what_is_wrong(arguments, told):
    def begin() -> None:
        data = ImageData(**arguments)
        data.setup()
        data.train_dataloader()

    with pytest.raises(InputError, match=told):
        begin()
