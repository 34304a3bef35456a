"""Which weights a run ends with, and which validation counts as its best."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from xception.training.best_weights import choose_weights
from xception.training.checkpoints import ExactCheckpoints


class Trainer(SimpleNamespace):
    """As much of Lightning's as a validation at the end of an epoch needs."""

    def validate(self, checkpoints, step, top1, loss):
        self.global_step, self.sanity_checking = step, False
        self.callback_metrics = {
            "validation_top1": torch.tensor(top1),
            "validation_loss": torch.tensor(loss),
        }
        loop = SimpleNamespace(_num_ready_batches_reached=lambda: True)
        self.fit_loop = SimpleNamespace(epoch_loop=loop)
        checkpoints.on_validation_end(self, None)


def model_of(value):
    model = nn.Linear(2, 1)
    nn.init.constant_(model.weight, value)
    nn.init.constant_(model.bias, value)
    return model


def checkpoints_in(folder):
    return ExactCheckpoints(folder, every_steps=None, description={})


def test_the_best_validation_is_the_most_accurate_and_of_equals_the_one_of_least_loss(tmp_path):
    checkpoints, trainer = checkpoints_in(tmp_path), Trainer()
    steps = []
    for step, top1, loss in (
        (1, 0.5, 0.9),
        (2, 0.75, 2.0),  # more accurate, whatever the loss
        (3, 0.75, 1.0),  # as accurate, less loss
        (4, 0.75, 1.0),  # the same again: the first stays
        (5, 0.75, float("nan")),
        (6, 0.5, 0.1),
    ):
        trainer.validate(checkpoints, step, top1, loss)
        steps.append(checkpoints.best_step)
    assert steps == [1, 2, 3, 3, 3, 3]
    again = checkpoints_in(tmp_path)
    again.load_state_dict(checkpoints.state_dict())
    assert vars(again) == vars(checkpoints)


def test_a_checkpoint_of_an_earlier_version_keeps_its_best_among_equals(tmp_path):
    checkpoints = checkpoints_in(tmp_path)
    checkpoints.load_state_dict({"best": 0.75, "best_step": 7})
    trainer = Trainer()
    trainer.validate(checkpoints, 8, 0.75, 0.1)
    assert checkpoints.best_step == 7
    trainer.validate(checkpoints, 9, 1.0, 5.0)
    assert checkpoints.best_step == 9


def test_a_run_that_goes_on_names_the_best_that_a_kill_left_unnamed(tmp_path):
    """Killed after last.ckpt, of the best validation so far, and before its second name."""
    checkpoints = checkpoints_in(tmp_path)
    (tmp_path / "last.ckpt").write_bytes(b"of step 4")
    (tmp_path / "best.ckpt").write_bytes(b"of step 2")
    trainer = SimpleNamespace(is_global_zero=True, ckpt_path=tmp_path / "last.ckpt")
    for best_step, named in ((2, b"of step 2"), (4, b"of step 4")):
        checkpoints.best_step, checkpoints.saved_step = best_step, 4
        checkpoints.on_fit_start(trainer, None)
        assert (tmp_path / "best.ckpt").read_bytes() == named


@pytest.mark.parametrize(("averaged", "wanted"), [(True, 3.0), (False, 2.0)])
def test_choose_weights_takes_the_best_averaged_ones_or_the_raw_ones(tmp_path, averaged, wanted):
    raw = {f"model.{name}": value for name, value in model_of(2.0).state_dict().items()}
    content = {"global_step": 7, "state_dict": {**raw, "validation.loss": torch.zeros(1)}}
    if averaged:
        content["polyak"] = {"state_dict": model_of(3.0).state_dict()}
    torch.save(content, tmp_path / "best.ckpt")
    checkpoints = checkpoints_in(tmp_path)
    checkpoints.best, checkpoints.best_step, checkpoints.validations = 0.75, 7, 9
    told = {"best_validation": 0.75, "best_step": 7, "validations": 9}
    model = model_of(1.0)
    assert choose_weights(model, checkpoints, "last") == {"kept": "last", **told}
    assert model.weight.unique().item() == 1.0
    assert choose_weights(model, checkpoints, "best") == {"kept": "best", **told}
    assert model.weight.unique().item() == wanted
    assert model.bias.unique().item() == wanted


def test_choose_weights_keeps_the_last_where_nothing_was_validated(tmp_path):
    with pytest.warns(UserWarning, match="nothing was validated"):
        assert choose_weights(model_of(1.0), checkpoints_in(tmp_path), "best") == {"kept": "last"}


def test_choose_weights_takes_none_of_another_step_for_the_best(tmp_path):
    raw = {f"model.{name}": value for name, value in model_of(2.0).state_dict().items()}
    torch.save({"global_step": 8, "state_dict": raw}, tmp_path / "best.ckpt")
    checkpoints = checkpoints_in(tmp_path)
    checkpoints.best, checkpoints.best_step, checkpoints.validations = 0.75, 7, 9
    model = model_of(1.0)
    with pytest.warns(UserWarning, match=r"best.ckpt is of step 8, and the best .* of step 7"):
        told = choose_weights(model, checkpoints, "best")
    assert told["kept"] == "last"
    assert model.weight.unique().item() == 1.0
