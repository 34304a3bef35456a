"""Which checkpoint a run goes on from, and which one it calls good."""

import pytest
import torch

from xception.errors import InputError
from xception.training.checkpoints import (
    AtomicCheckpointIO,
    last_good_checkpoint,
    name_again,
    newest_checkpoint,
)


def save(path, value):
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.tensor([value])}}, path)


def test_newest_is_last_then_previous_then_none(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    save(tmp_path / "previous.ckpt", 1.0)
    assert newest_checkpoint(tmp_path).name == "previous.ckpt"
    save(tmp_path / "last.ckpt", 2.0)
    assert newest_checkpoint(tmp_path).name == "last.ckpt"


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_truncated_one_is_passed_over_with_a_warning(tmp_path, size):
    save(tmp_path / "previous.ckpt", 1.0)
    save(tmp_path / "last.ckpt", 2.0)
    whole = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(whole[:size])
    with pytest.warns(UserWarning, match=r"last\.ckpt.*going on from .*previous\.ckpt"):
        assert newest_checkpoint(tmp_path).name == "previous.ckpt"


def test_all_damaged_is_an_error_and_not_a_fresh_start(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(InputError, match=r"last\.ckpt"):
        newest_checkpoint(tmp_path)


def test_pickled_objects_are_refused(tmp_path):
    torch.save({"state_dict": {}, "callback": print}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="Python objects"):
        newest_checkpoint(tmp_path)


def test_good_means_finite(tmp_path):
    assert last_good_checkpoint(tmp_path) is None
    save(tmp_path / "last.ckpt", float("nan"))
    assert last_good_checkpoint(tmp_path) is None
    save(tmp_path / "previous.ckpt", 1.0)
    assert last_good_checkpoint(tmp_path).name == "previous.ckpt"
    save(tmp_path / "last.ckpt", 2.0)
    assert last_good_checkpoint(tmp_path).name == "last.ckpt"


def test_naming_again_replaces_and_shares_the_content(tmp_path):
    save(tmp_path / "last.ckpt", 2.0)
    save(tmp_path / "best.ckpt", 1.0)
    name_again(tmp_path / "last.ckpt", tmp_path / "best.ckpt")
    name_again(tmp_path / "last.ckpt", tmp_path / "best.ckpt")  # again, when they are one already
    save(tmp_path / "last.ckpt", 3.0)  # a new file: the other name keeps the old content
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["state_dict"]["w"].item() == 2.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_naming_again_copies_where_links_are_unsupported(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    save(tmp_path / "last.ckpt", 2.0)
    name_again(tmp_path / "last.ckpt", tmp_path / "best.ckpt")
    assert (tmp_path / "best.ckpt").read_bytes() == (tmp_path / "last.ckpt").read_bytes()
