"""Which images a run goes on with."""

import pytest

from xception.data.image_record import ImageRecord, RecordedImage, write_record
from xception.errors import InputError
from xception.recipes.load import load_recipe
from xception.recipes.run_list import images_to_go_on_with
from xception.training.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    """A run that has saved a checkpoint, and has no list of its images."""
    directory = RunDirectory(tmp_path / "run")
    directory.checkpoints.mkdir(parents=True)
    (directory.checkpoints / "previous.ckpt").touch()
    return directory


def test_a_run_goes_on_with_its_list_or_as_earlier_versions_drew(run, tmp_path):
    recipe = load_recipe("digits-xception", ["--data.name", str(tmp_path)])
    drawn_again = {"record": None, "by_position": True}
    assert images_to_go_on_with(recipe, run, resume=True) == drawn_again
    record = ImageRecord([RecordedImage("train", "cat/1.png", "cat", 3, "")])
    write_record(record, run.images)
    listed = {"record": record, "by_position": False}
    assert images_to_go_on_with(recipe, run, resume=True) == listed
    assert images_to_go_on_with(recipe, run, resume=False) == {}
    (run.checkpoints / "previous.ckpt").unlink()  # nothing is saved: it begins afresh
    assert images_to_go_on_with(recipe, run, resume=True) == {}


def test_a_place_that_is_gone_is_asked_for(run, tmp_path):
    recipe = load_recipe("digits-xception", ["--data.name", str(tmp_path / "gone")])
    with pytest.raises(InputError, match=r"there is no .*gone, .* say with --data.root"):
        images_to_go_on_with(recipe, run, resume=True)
