"""Where conversions are kept: beside the weights, for the user, or for this process alone."""

from pathlib import Path

import pytest
from conversions import IDENTITY, Builder

from xception.errors import InputError
from xception.export import cache
from xception.export.cache import cache_folders, stored_or_built
from xception.weights.sources import cache_directory


def forbid(path):
    """Makes a folder impossible to create; a mode would not stop the superuser."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")


def test_stored_or_built_takes_the_users_cache_where_it_can_not_write(weights_file, tmp_path):
    beside, elsewhere = cache_folders(weights_file)
    forbid(beside)
    build = Builder()
    entry = stored_or_built(weights_file, IDENTITY, build)
    assert entry.parent == elsewhere
    assert elsewhere.is_relative_to(tmp_path / "user")
    stored_or_built(weights_file, IDENTITY, build)
    assert build.calls == 1


def test_stored_or_built_keeps_for_this_process_what_it_can_write_nowhere(weights_file):
    folders = cache_folders(weights_file)
    for folder in folders:
        forbid(folder)
    build = Builder()
    with pytest.warns(UserWarning, match=r"can't be stored in .* or in .* set XCEPTION_CACHE to a"):
        entry = stored_or_built(weights_file, IDENTITY, build)
    assert entry == stored_or_built(weights_file, IDENTITY, build)
    assert build.calls == 1
    assert (entry / "model.bin").read_text() == "converted"
    stored_or_built(weights_file, IDENTITY | {"size": 71}, build)  # without another warning
    cache._temporary.pop(str(weights_file.resolve())).cleanup()
    assert not entry.exists()


def test_a_user_without_a_home_keeps_conversions_beside_the_weights(weights_file, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XCEPTION_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    (beside,) = cache_folders(weights_file)
    assert stored_or_built(weights_file, IDENTITY, Builder()).parent == beside
    with pytest.raises(InputError, match=r"there is no home directory .* set XCEPTION_CACHE"):
        cache_directory()


def test_stored_or_built_says_what_to_set_if_there_is_no_temporary_folder(
    weights_file, monkeypatch
):
    for folder in cache_folders(weights_file):
        forbid(folder)
    monkeypatch.setattr(cache.tempfile, "tempdir", str(weights_file / "nowhere"))
    with pytest.raises(InputError, match=r"can't be stored in .*; set XCEPTION_CACHE to a"):
        stored_or_built(weights_file, IDENTITY, Builder())


def test_stored_or_built_reads_a_conversion_in_a_folder_that_can_not_be_written(
    weights_file, monkeypatch
):
    build = Builder()
    entry = stored_or_built(weights_file, IDENTITY, build)
    monkeypatch.setattr(cache, "_is_writable", lambda folder: False)
    monkeypatch.setattr(cache.os, "utime", _refuse)
    assert stored_or_built(weights_file, IDENTITY, build) == entry
    assert build.calls == 1


def _refuse(*_):
    raise PermissionError("read-only file system")
