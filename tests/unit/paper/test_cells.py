"""Items, variants and cells: what is trained, once each, and what is passed over."""

import json

import pytest

from xception.errors import InputError, RunFailedError
from xception.paper.cells import (
    expected_seconds,
    plan_cells,
    run_cell,
    run_cells,
)
from xception.paper.costs import cost
from xception.paper.items import choose_items
from xception.paper.large_scales import JFT
from xception.paper.manifest import read_manifest, write_manifest
from xception.paper.scales import find_scale
from xception.paper.small_scales import CIFAR10, DIGITS


def test_a_clusters_cost_is_gpus_times_hours_times_price(tmp_path, write_cell):
    chosen = choose_items(JFT, ["figure-7"])
    found = cost(JFT, plan_cells(JFT, chosen, tmp_path), 0.5)
    # two experiments of thirty days on sixty GPUs: 2 x 30 x 24 = 1440 hours, x 60 = 86,400
    assert (found.cells, found.hours, found.gpu_hours, found.dollars) == (2, 1440, 86400, 43200)
    write_cell(tmp_path, "multi-label-xception", 0, [0.9])
    assert cost(JFT, plan_cells(JFT, chosen, tmp_path), 0.5).gpu_hours == 43200
    assert cost(DIGITS, plan_cells(DIGITS, [], tmp_path)) is None
    for price in (-1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=f"price of a GPU hour is {price}"):
            cost(JFT, [], price)


def test_cells_are_shared_between_items_and_ordered_by_seed(tmp_path):
    chosen = choose_items(DIGITS, ["figure-9", "figure-10"])
    found = plan_cells(DIGITS, chosen, tmp_path, 2)
    names = [(cell.variant.name, cell.seed) for cell in found]
    one = ["xception", "no-residual", "activation-relu", "activation-elu"]
    assert names == [(name, seed) for seed in (0, 1) for name in one]
    assert found[0].path == tmp_path / "cells" / "xception" / "seed-0"


def test_claims_get_more_seeds_than_the_rest(tmp_path):
    found = plan_cells(CIFAR10, choose_items(CIFAR10, []), tmp_path)
    seeds = {}
    for cell in found:
        seeds[cell.variant.name] = seeds.get(cell.variant.name, 0) + 1
    assert (seeds["xception"], seeds["no-residual"], seeds["segments-4"]) == (6, 6, 3)
    assert (seeds["segments-1"], seeds["segments-1-relu"], seeds["segments-1-elu"]) == (6, 6, 3)


def test_the_digits_list_fits_into_fifteen_minutes(tmp_path):
    found = plan_cells(DIGITS, choose_items(DIGITS, []), tmp_path)
    assert expected_seconds(found) < 14 * 60  # a minute is left for drawings and table 3
    assert expected_seconds(found) / len(found) <= 35


def test_expected_time_leaves_finished_cells_out(tmp_path, write_cell):
    chosen = choose_items(DIGITS, ["figure-9"])
    before = expected_seconds(plan_cells(DIGITS, chosen, tmp_path))
    write_cell(tmp_path, "xception", 0, [0.9])
    assert expected_seconds(plan_cells(DIGITS, chosen, tmp_path)) == before - DIGITS.cell_seconds


def test_mistakes_are_told():
    with pytest.raises(InputError, match="did you mean 'figure-9'"):
        choose_items(DIGITS, ["figure9"])
    with pytest.raises(InputError, match="did you mean 'cifar10'"):
        find_scale("cifar-10")


def test_no_seeds_are_refused(tmp_path):
    with pytest.raises(InputError, match="--seeds 0"):
        plan_cells(DIGITS, [], tmp_path, 0)


@pytest.fixture
def cell(tmp_path):
    (found, *_) = plan_cells(DIGITS, choose_items(DIGITS, ["figure-9"]), tmp_path)
    return found


def test_a_failed_cell_is_noted_and_does_not_stop_the_rest(tmp_path, monkeypatch):
    def fail(recipe, directory, **_):
        if "no-residual" in str(directory):
            raise RunFailedError("the loss is NaN at step 7")

    monkeypatch.setattr("xception.recipes.run.run_recipe", fail)
    found = plan_cells(DIGITS, choose_items(DIGITS, ["figure-9", "figure-10"]), tmp_path)
    outcomes = {cell.variant.name: outcome for cell, outcome in run_cells(found)}
    assert outcomes["no-residual"] == "failed"
    assert [name for name, outcome in outcomes.items() if outcome == "finished"] == [
        "xception",
        "activation-relu",
        "activation-elu",
    ]
    assert next(c.failure for c in found if c.variant.name == "no-residual") == (
        "the loss is NaN at step 7"
    )


def test_a_cell_that_another_process_trains_is_passed_over(cell, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr("xception.recipes.run.run_recipe", lambda *_, **__: pytest.fail("ran"))
    cell.path.parent.mkdir(parents=True)
    with FileLock(cell.path.parent / ".seed-0.lock"):
        assert run_cell(cell, cell.recipe()) == "running elsewhere"


def test_a_finished_cell_of_another_recipe_is_refused(cell):
    import yaml

    recipe = cell.recipe()
    cell.path.mkdir(parents=True)
    (cell.path / "recipe.yaml").write_text(yaml.safe_dump(recipe.keys))
    (cell.path / "summary.json").write_text("{}")
    assert run_cell(cell, recipe) == "already finished"
    with pytest.raises(InputError, match=r"optimizer\.learning_rate is 0\.1 there and 0\.2 here"):
        run_cell(cell, cell.recipe(["--optimizer.learning_rate=0.2"]))


def test_a_finished_cell_of_an_earlier_version_is_passed_over(cell):
    import yaml

    recipe = cell.recipe()
    older = {group: keys for group, keys in recipe.keys.items() if group != "asynchronous"}
    older["data"] = {key: v for key, v in recipe.keys["data"].items() if key != "decoding"}
    cell.path.mkdir(parents=True)
    (cell.path / "recipe.yaml").write_text(yaml.safe_dump(older))
    (cell.path / "summary.json").write_text("{}")
    assert run_cell(cell, recipe) == "already finished"
    with pytest.raises(InputError, match=r"data\.decoding is 'exact' there and 'fast' here"):
        run_cell(cell, cell.recipe(["--data.decoding=fast"]))


def test_a_broken_cell_is_resumed(cell, monkeypatch):
    calls = []
    monkeypatch.setattr("xception.recipes.run.run_recipe", lambda *_, **how: calls.append(how))
    cell.path.mkdir(parents=True)
    (cell.path / "recipe.yaml").write_text("seed: 0\n")
    cell.failure_file.write_text('{"reason": "no space"}')
    assert (cell.state, cell.failure) == ("broken", "no space")
    assert run_cell(cell, cell.recipe()) == "finished"
    assert calls == [{"resume": True}]
    assert cell.failure is None


def test_manifest_keeps_one_directory_to_one_scale(tmp_path):
    asked = {"scale": "digits", "overrides": [], "data": "digits"}
    write_manifest(tmp_path / "run", asked)
    write_manifest(tmp_path / "run", asked)
    assert read_manifest(tmp_path / "run") == asked
    with pytest.raises(InputError, match="scale 'digits', not 'cifar10'"):
        write_manifest(tmp_path / "run", {**asked, "scale": "cifar10"})


def test_many_processes_may_claim_one_directory_at_once(tmp_path):
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial
    from multiprocessing import get_context

    asked = {"scale": "digits", "overrides": [], "data": "digits"}
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        for i in range(20):
            claim = partial(write_manifest, tmp_path / f"run-{i}")
            assert len(list(pool.map(claim, [asked] * 4))) == 4
            assert read_manifest(tmp_path / f"run-{i}") == asked


def test_speed_is_left_to_a_process_that_still_trains(tmp_path, monkeypatch):
    from filelock import FileLock

    from xception.paper.reproduce import plan, reproduce

    measured = {"seconds": 1}
    monkeypatch.setattr("xception.recipes.run.run_recipe", lambda *_, **__: None)
    monkeypatch.setattr("xception.paper.speed.measure_speed", lambda *_: measured)
    monkeypatch.setattr("xception.paper.report.write_paper_report", lambda *_: ["report.html"])
    output, said = tmp_path / "out", []
    made = plan("digits", ["figure-9", "table-3"], output)
    (output / "cells" / "no-residual").mkdir(parents=True)
    (output / "manifest.json").write_text('{"scale": "digits"}')
    with FileLock(output / "cells" / "no-residual" / ".seed-0.lock"):
        assert reproduce(made, said.append)
    assert "table-3: speed is left to the process that still trains here" in said
    assert not (output / "speed.json").exists()
    assert reproduce(made, said.append)
    assert json.loads((output / "speed.json").read_text()) == measured


def test_a_directory_without_cells_takes_other_data(tmp_path, write_cell):
    asked = {"scale": "cifar10", "overrides": [], "data": "CIFAR-10"}
    write_manifest(tmp_path, asked)  # of a command that then found no data
    other = {**asked, "data": "CIFAR-10, JPEG"}
    write_manifest(tmp_path, other)
    assert read_manifest(tmp_path) == other
    write_cell(tmp_path, "xception", 0, [0.9])
    with pytest.raises(InputError, match="data 'CIFAR-10, JPEG', not 'CIFAR-10'"):
        write_manifest(tmp_path, asked)


def test_foreign_directories_are_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds something else than a reproduction"):
        write_manifest(tmp_path, {"scale": "digits"})
    with pytest.raises(InputError, match=r"no manifest\.json"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        read_manifest(tmp_path)
