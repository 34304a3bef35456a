"""Whose a directory is, and what is refused."""

import pytest

from xception.errors import InputError
from xception.training import run_directory
from xception.training.run_directory import RunDirectory

RECIPE = {"model": {"name": "xception", "width": 0.5}, "data": {"num_workers": 0}, "seed": 1}


def claim(directory, recipe=RECIPE, resume=False, overwrite=False):
    directory.claim(recipe, resume=resume, overwrite=overwrite)


def test_claim_writes_the_recipe(tmp_path):
    directory = RunDirectory(tmp_path / "a" / "b")
    claim(directory)
    assert directory.stored_recipe() == RECIPE


def test_claim_refuses_another_run_and_leaves_it_alone(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    claim(directory)
    before = directory.recipe.read_bytes()
    with pytest.raises(InputError, match=r"another run.*--resume.*--overwrite"):
        claim(directory, {**RECIPE, "seed": 2})
    assert directory.recipe.read_bytes() == before


def test_claim_refuses_a_directory_that_holds_no_run_even_to_overwrite(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds no run"):
        claim(RunDirectory(tmp_path), overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_what_a_killed_claim_leaves_behind_is_nobodys(tmp_path):
    (tmp_path / ".recipe.yaml.partial").write_text("seed: ")
    claim(RunDirectory(tmp_path))
    assert RunDirectory(tmp_path).stored_recipe() == RECIPE
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_claim_refuses_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        claim(RunDirectory(tmp_path / "file"))


def test_overwrite_removes_the_former_run(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    claim(directory)
    directory.write_summary({"top1": 1.0})
    claim(directory, {**RECIPE, "seed": 2}, overwrite=True)
    assert not directory.is_finished()
    assert directory.stored_recipe()["seed"] == 2


def test_resume_names_every_contradiction_with_both_values(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    claim(directory)
    other = {"model": {"name": "xception", "width": 1.0}, "data": {"num_workers": 0}, "seed": 2}
    with pytest.raises(InputError, match=r"model\.width is 0\.5 there and 1\.0 here; seed is 1"):
        claim(directory, other, resume=True)


def test_a_key_that_is_newer_than_the_run_counts_as_its_default(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    claim(directory)
    newer = {**RECIPE, "data": {"num_workers": 0, "decoding": "exact"}, "new": {"workers": 0}}
    defaults = {"seed": 0, "data": {"decoding": "exact"}, "new": {"workers": 0}}
    directory.claim(newer, resume=True, overwrite=False, defaults=defaults)
    assert directory.stored_recipe() == RECIPE  # its file stays as it is
    newer["new"] = {"workers": 4}
    with pytest.raises(InputError, match=r"recipe: new\.workers is 0 there and 4 here\. Leave"):
        directory.claim(newer, resume=True, overwrite=False, defaults=defaults)


def test_a_damaged_recipe_is_told_in_a_sentence(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    claim(directory)
    directory.recipe.write_text("model: {name: [")
    with pytest.raises(InputError, match=r"recipe\.yaml is damaged: it is not YAML"):
        claim(directory, resume=True)


def test_resume_allows_other_loader_processes(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    claim(directory)
    claim(directory, {**RECIPE, "data": {"num_workers": 4}}, resume=True)
    assert directory.stored_recipe() == RECIPE


def test_a_run_that_can_not_be_written_is_told_before_it_goes_on(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    claim(directory)
    directory.checkpoints.write_text("in the way")  # modes would not stop the superuser
    with pytest.raises(InputError, match=r"can't go on there \(Not a directory\): copy the dire"):
        claim(directory, resume=True)
    directory.write_summary({"top1": 1.0})
    claim(directory, resume=True)  # of a finished run nothing is written


def test_the_new_place_of_the_images_is_noted(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    before = {**RECIPE, "data": {"name": "folder", "root": "here", "num_workers": 0}}
    claim(directory, before)
    claim(directory, {**before, "data": {**before["data"], "root": None}}, resume=True)
    assert directory.stored_recipe() == before
    moved = {**before, "data": {**before["data"], "root": "there", "num_workers": 4}}
    claim(directory, moved, resume=True)
    assert directory.stored_recipe() == {**before, "data": {**before["data"], "root": "there"}}


def test_overwriting_what_can_not_be_deleted_names_the_directory(tmp_path, monkeypatch):
    directory = RunDirectory(tmp_path / "run")
    claim(directory)

    def refuse(path):
        raise PermissionError(13, "Permission denied", "report.html")

    monkeypatch.setattr(run_directory.shutil, "rmtree", refuse)
    with pytest.raises(InputError, match=r"/run can't be deleted \(Permission denied\); name an"):
        claim(directory, overwrite=True)
