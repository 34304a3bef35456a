"""What a search tries, and what it finds in the results."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from xception.errors import InputError
from xception.paper.search import KEYS, SearchSpace, Study
from xception.paper.trials import Network, TrialResult
from xception.paper.tuning_plan import plan_search
from xception.paper.tuning_plot import draw_search
from xception.paper.tuning_report import best_trial
from xception.recipes.load import Recipe, load_recipe

pytest.importorskip("optuna")


def study_of(folder, name="a", **settings):
    space = SearchSpace(**{"span": 10.0, "sampler": "sobol", "seed": 0, **settings})
    return Study(folder / "study.journal", name, space)


def factors(study, count):
    found = []
    for _ in range(count):
        trial = study.ask()
        found.append(trial.factors)
        study.finish(trial.number, 0.5)
    return found


@pytest.mark.parametrize("sampler", ["sobol", "tpe"])
def test_every_recipe_gets_the_same_factors_and_its_own_values_first(tmp_path, sampler):
    first = factors(study_of(tmp_path, "a", sampler=sampler), 6)
    assert first == factors(study_of(tmp_path, "b", sampler=sampler), 6)
    assert first[0] == {"learning_rate": 1.0, "weight_decay": 1.0}
    assert len({tuple(each.values()) for each in first}) == 6
    assert all(0.1 <= value <= 10 for each in first for value in each.values())
    assert factors(study_of(tmp_path, "c", sampler=sampler, seed=1), 6)[1:] != first[1:]


@pytest.mark.parametrize("sampler", ["sobol", "tpe"])
def test_a_reopened_study_goes_on_with_the_factors_that_it_would_have_drawn(tmp_path, sampler):
    whole = factors(study_of(tmp_path, "whole", sampler=sampler), 5)
    parts = [factors(study_of(tmp_path, "parts", sampler=sampler), n) for n in (2, 1, 2)]
    assert [each for part in parts for each in part] == whole


def test_factors_are_spread_over_the_logarithms(tmp_path):
    found = factors(study_of(tmp_path, span=100.0), 33)[1:]
    for key in KEYS:  # a scrambled Sobol sequence: half of 32 points in either half
        assert sum(each[key] < 1 for each in found) == 16


def test_an_unfinished_trial_is_running_until_it_ends(tmp_path):
    study = study_of(tmp_path)
    first, second = study.ask(), study.ask()
    study.fail(first.number)
    assert study_of(tmp_path).running() == [second]
    study.finish(second.number, 0.25)
    study.finish(second.number, 0.75)  # told twice after a kill between figure and journal
    assert study_of(tmp_path).running() == []
    assert [trial.value for trial in study.trials()] == [None, 0.25]


def test_a_damaged_journal_is_told_in_a_sentence(tmp_path):
    (tmp_path / "study.journal").write_text("{nonsense\n{}\n")
    with pytest.raises(InputError, match=r"study\.journal is damaged"):
        study_of(tmp_path)


@pytest.mark.parametrize(("span", "seed"), [(1.0, 0), (0.5, 0), (float("nan"), 0), (10.0, -1)])
def test_a_space_without_extent_is_refused(span, seed):
    with pytest.raises(InputError, match=r"--span|--seed"):
        SearchSpace(span, "sobol", seed)


@settings(max_examples=50)
@given(own=st.floats(1e-8, 10), factor=st.floats(0.01, 100))
def test_values_are_the_recipes_own_times_the_factor(own, factor):
    recipe = Recipe("r", {"optimizer": {"learning_rate": own, "weight_decay": own}})
    values = Network("r", recipe, ()).values({"learning_rate": 1.0, "weight_decay": factor})
    assert values["learning_rate"] == own
    assert values["weight_decay"] == pytest.approx(own * factor, rel=5e-4)  # four digits


def result(number, figure, tmp_path, state="finished"):
    values = {"learning_rate": 0.1 * (number + 1), "weight_decay": 1e-4}
    return TrialResult("r", number, values, state, figure, 100, 2, "", tmp_path)


def test_the_best_trial_is_the_highest_and_of_equals_the_earliest(tmp_path):
    trials = [
        result(0, 0.5, tmp_path),
        result(1, None, tmp_path, "failed"),
        result(2, 0.7, tmp_path),
        result(3, 0.7, tmp_path),
    ]
    assert best_trial(trials).number == 2
    assert best_trial(trials[1:2]) is None
    figure = draw_search({"r": trials}, "top-1 accuracy")
    line = figure.axes[2].lines[0]
    assert list(line.get_ydata()) == [0.5, 0.5, 0.7, 0.7]  # a failed trial costs its share
    assert draw_search({"r": trials[1:2]}, "top-1 accuracy") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.validation_fraction", "0.5"),
        ("trainer.accumulate_grad_batches", "4"),
        ("trainer.max_time", "00:00:01:00"),
        ("trainer.limit_val_batches", "1"),
        ("trainer.overfit_batches", "2"),
        ("map.reading", "class"),
    ],
)
def test_recipes_that_look_at_other_images_or_take_more_of_them_are_refused(tmp_path, key, value):
    group, name = key.split(".")
    other = load_recipe("digits-inception-v3").keys
    other = {**other, group: {**other[group], name: yaml.safe_load(value)}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    recipes = ["digits-xception", str(tmp_path / "other.yaml")]
    space = SearchSpace(10.0, "sobol", 0)
    with pytest.raises(InputError, match=f"{key} is .* the budgets are not equal"):
        plan_search(recipes, tmp_path / "out", space, trials=1, tuning_fraction=0.2)
