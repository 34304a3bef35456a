"""docs/scaling.md: its tables are those of the arithmetic, and the arithmetic is right by hand."""

import importlib
import math
import sys
from pathlib import Path

import pytest
import torch

from xception.models.registry import create_model
from xception.recipes.load import load_recipe

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def scripts():
    """The scripts in ``benchmarks``, which are no package."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module
    sys.path.remove(str(ROOT / "benchmarks"))


def test_every_table_on_the_page_is_what_the_script_prints(scripts):
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    tables = scripts("scaling_arithmetic").page_tables()
    for name, lines in tables.items():
        assert f"\n\n{lines}\n\n" in page, f"the table '{name}' of docs/scaling.md is out of date"


def test_time_of_an_update_is_within_what_the_server_was_measured_to_take(scripts):
    (file,) = (ROOT / "benchmarks" / "results").glob("asynchronous-updates-*.md")
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert f"](../benchmarks/results/{file.name})" in page
    measured = file.read_text(encoding="utf-8")
    through_ray, rest = measured.split("## The server alone")
    alone = rest.split("## Before and after")[0]
    rows = [line for line in through_ray.splitlines() if line.startswith("|")]
    assert len(rows) > 4
    assert "\n".join(rows) in page  # the workers' table, as it was measured
    sizes = {"xception": 22_900_000, "jft-xception": 55_600_000, "jft-xception-fc": 115_600_000}
    updates = [1 / float(cells[4]) / sizes[cells[0]] for cells in cells_of(through_ray, sizes)]
    assert len(updates) == 10
    assert min(updates) < scripts("scaling_formulas").UPDATE_SECONDS < max(updates)
    least, most = round(min(updates) * 1e9), round(max(updates) * 1e9)
    flowing = " ".join(page.split())
    assert f"took {least} to {most} ns a parameter" in flowing
    pushes = [float(cells[6]) for cells in cells_of(alone, sizes)]
    assert len(pushes) == 9
    assert f"two cores {min(pushes):.1f} to {max(pushes):.1f} ns a parameter" in flowing


def cells_of(table, networks):
    """The cells of each line of a table that is about one of the networks."""
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()]
    return [cells for cells in lines if cells[0] in networks]


@pytest.mark.parametrize("name", ["jft-xception", "jft-xception-fc"])
def test_sizes_of_the_networks_are_those_of_the_recipes(scripts, name):
    keys = load_recipe(name).group("model")
    with torch.device("meta"):
        model = create_model(
            keys["name"], num_classes=keys["num_classes"], fc_units=tuple(keys["fc_units"] or ())
        )
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert scripts("scaling_formulas").NETWORKS[name] == counted


def test_formulas_by_hand(scripts):
    formulas = scripts("scaling_formulas")
    size = 1_000_000
    # Two machines of two GPUs; 10 images/s each in batches of 5: 8 updates/s, 0.5 s a step.
    pair = formulas.Cluster("pair", 4, 2, 10.0, 5, 1e9)
    assert (pair.machines, pair.images, pair.updates, pair.carried) == (2, 40.0, 8.0, 0.7e9)
    assert formulas.data_bytes(pair, 1000) == 40_000
    assert formulas.epoch_hours(pair) == pytest.approx(350e6 / 40 / 3600)
    # Ring: of 4 MB each machine sends one half to be added up and one half of the sum.
    assert formulas.reduce_bytes(size, 2) == 4_000_000
    assert formulas.reduce_seconds(size, pair) == pytest.approx(4e6 / 0.7e9)
    assert formulas.step_seconds(pair) == 0.5
    assert formulas.moved_bytes(size, pair, 4) == 8 * 4_000_000
    # One worker moves 2 updates/s of 4 MB; 700 MB/s carry 87.5 of them.
    assert formulas.workers_per_server(size, pair) == pytest.approx(87.5)
    assert formulas.workers_per_server(size, pair, 2) == pytest.approx(175)
    assert formulas.servers_for_network(100 * size, pair, 4) == 5  # 3.2 GB/s of 0.7 GB/s each
    assert formulas.servers_for_network(100 * size, pair, 2) == 3
    # 8 updates/s of 100 million parameters at 4 ns: 3.2 s of work a second.
    assert formulas.servers_for_updates(100 * size, pair) == 4
    assert formulas.checkpoint_bytes(size) == 16_000_000
    assert formulas.hours_to_failure(60) * 60 == pytest.approx(54 * 24 * 16_384 / 419)


def test_the_best_interval_between_checkpoints_loses_the_least(scripts):
    formulas = scripts("scaling_formulas")
    seconds, gpus = 2.0, 1000

    def lost(interval):
        to_failure = formulas.hours_to_failure(gpus) * 3600
        return seconds / interval + interval / 2 / to_failure

    best = formulas.best_interval(seconds, gpus)
    assert lost(best) == formulas.lost_share(seconds, gpus)
    assert lost(best) < min(lost(0.99 * best), lost(1.01 * best))
    assert math.isclose(best**2, 2 * seconds * formulas.hours_to_failure(gpus) * 3600)


def test_leases_of_an_epoch_are_each_done_once(scripts):
    """The script itself asserts it, over a snapshot in the middle; here with 1,000 of them."""
    found = scripts("scale_leases").measure_leases(32_000)
    assert found["steps"] == 1000
    assert found["snapshot_bytes"] < 10_000
