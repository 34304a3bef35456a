"""When the averaged weights are evaluated: where Lightning would, found out by running it."""

import pytest

from xception.errors import InputError
from xception.recipes.asynchronous import evaluation_steps
from xception.training.fit import fit, prepare
from xception.training.metrics_file import read_rows


@pytest.mark.parametrize(
    ("interval", "epochs"),
    [(None, 1), (0.4, 1), (0.5, 2), (2, 1), (5, 1), (1.0, 2), (3, None), (7, None)],
)
def test_the_steps_are_those_at_which_lightning_validates(build_run, interval, epochs):
    run = build_run(epochs=3)
    keys = {"val_check_interval": interval, "check_val_every_n_epoch": epochs}
    quiet = {"logger": False, "enable_progress_bar": False, "accelerator": "cpu"}
    fit(prepare(run, {"max_epochs": 3, "log_every_n_steps": 1000, **quiet, **keys}), None)
    rows = read_rows(run.directory.metrics)
    expected = [int(row["step"]) for row in rows if row["validation_loss"] is not None]
    assert expected
    is_evaluated = evaluation_steps(keys, 5)
    assert [step for step in range(16) if is_evaluated(step)] == expected


@pytest.mark.parametrize(
    ("interval", "epochs"), [("00:00:10:00", 1), (0, 1), (-1, None), (1.0, 0), (0.5, None)]
)
def test_what_lightning_would_not_do_either_is_refused(interval, epochs):
    with pytest.raises(InputError, match=r"trainer\.val_check_interval must be"):
        evaluation_steps({"val_check_interval": interval, "check_val_every_n_epoch": epochs}, 5)
