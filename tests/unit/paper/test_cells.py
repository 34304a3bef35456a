"""Items, variants and cells: what is trained, once each, and what is passed over."""

import pytest
import torch

from xception.errors import InputError, RunFailedError
from xception.paper.cells import (
    expected_seconds,
    plan_cells,
    read_manifest,
    run_cell,
    run_cells,
    write_manifest,
)
from xception.paper.claims import claims
from xception.paper.costs import cost
from xception.paper.items import choose_items, items
from xception.paper.large_scales import IMAGENET, JFT
from xception.paper.scale import MULTI_LABEL_NETWORKS, VGG_STYLE
from xception.paper.scales import SCALES, find_scale
from xception.paper.small_scales import CIFAR10, DIGITS
from xception.paper.variants import variants

ITEMS = [
    *("figure-1", "figure-2", "figure-3", "figure-4", "figure-5"),
    *("table-1", "table-2", "table-3", "figure-6", "figure-7", "figure-8"),
    *("figure-9", "learning-rates", "vgg-style", "figure-10"),
    *("order", "weight-decay", "spectrum"),
]


@pytest.mark.parametrize("scale", SCALES.values(), ids=lambda scale: scale.name)
def test_every_item_of_the_paper_is_there(scale):
    found = items(scale)
    assert list(found) == ITEMS
    known = variants(scale)
    for item in found.values():
        assert set(item.variants) <= known.keys()
        assert bool(item.variants) == (item.kind == "cells")
        assert bool(item.absent) == (item.kind == "absent")


MULTI_LABEL = ["table-2", "figure-7", "figure-8", "vgg-style"]


@pytest.mark.parametrize("scale", SCALES.values(), ids=lambda scale: scale.name)
def test_each_task_is_run_where_it_is_and_pointed_to_elsewhere(scale):
    found = items(scale).values()
    absent = {item.name for item in found if item.kind == "absent"}
    trained = {item.name for item in found if item.kind in ("cells", "speed")}
    expected = {
        "digits": set(),
        "cifar10": set(MULTI_LABEL),
        "imagenet": set(MULTI_LABEL),
        "jft": trained_elsewhere(),
    }[scale.name]
    assert absent == expected
    assert trained | absent == set(MULTI_LABEL) | trained_elsewhere()


def trained_elsewhere():
    drawn = {f"figure-{n}" for n in range(1, 6)}
    return set(ITEMS) - drawn - set(MULTI_LABEL)


def test_multi_label_networks_differ_where_they_should(tmp_path):
    found = {
        cell.variant.name: cell.recipe().keys
        for cell in plan_cells(JFT, choose_items(JFT, []), tmp_path)
    }
    assert set(found) == {*MULTI_LABEL_NETWORKS, VGG_STYLE}
    for name, keys in found.items():
        wanted = "separable_vgg" if name == VGG_STYLE else name.split("label-")[1]
        assert keys["model"]["name"] == wanted.removesuffix("-fc").replace("-", "_")
        assert bool(keys["model"]["fc_units"]) == name.endswith("-fc")
        assert keys["optimizer"]["weight_decay"] == (4e-5 if "inception" in name else 1e-5)
        assert (keys["map"]["k"], keys["model"]["num_classes"]) == (100, 17_000)


def test_the_vgg_style_network_has_as_many_parameters_as_inception_v3_with_jfts_classes(tmp_path):
    from xception.models.registry import create_model

    counts = {}
    for cell in plan_cells(JFT, choose_items(JFT, ["vgg-style"]), tmp_path):
        keys = cell.recipe().group("model")
        keys.pop("weights"), keys.pop("freeze")
        with torch.device("meta"):
            model = create_model(keys.pop("name"), **keys)
        counts[cell.variant.name] = sum(p.numel() for p in model.parameters())
    ours, theirs = counts[VGG_STYLE], counts["multi-label-inception-v3"]
    assert abs(ours / theirs - 1) < 1e-3


def test_claims_belong_to_the_tasks_that_a_scale_has():
    listed = {
        scale.name: [(claim.item, claim.metric) for claim in claims(scale)]
        for scale in SCALES.values()
    }
    assert len(listed["cifar10"]) == len(listed["imagenet"]) == 9
    assert {metric for _, metric in listed["cifar10"]} == {"top1"}
    assert listed["jft"] == [*[("table-2", "map")] * 4, ("vgg-style", "map"), ("table-2", "map")]
    assert listed["digits"] == [*listed["cifar10"], *listed["jft"]]


def test_a_clusters_cost_is_gpus_times_hours_times_price(tmp_path, write_cell):
    chosen = choose_items(JFT, ["figure-7"])
    found = cost(JFT, plan_cells(JFT, chosen, tmp_path), 0.5)
    # two experiments of thirty days on sixty GPUs: 2 x 30 x 24 = 1440 hours, x 60 = 86,400
    assert (found.cells, found.hours, found.gpu_hours, found.dollars) == (2, 1440, 86400, 43200)
    write_cell(tmp_path, "multi-label-xception", 0, [0.9])
    assert cost(JFT, plan_cells(JFT, chosen, tmp_path), 0.5).gpu_hours == 43200
    assert cost(DIGITS, plan_cells(DIGITS, [], tmp_path)) is None
    with pytest.raises(InputError, match="-1"):
        cost(JFT, [], -1)


@pytest.mark.parametrize("scale", [DIGITS, CIFAR10], ids=lambda scale: scale.name)
def test_every_variant_builds_with_an_equal_parameter_count(scale, tmp_path):
    from xception.models.registry import create_model

    counts = {}
    for cell in plan_cells(scale, choose_items(scale, []), tmp_path, 1):
        keys = cell.recipe().group("model")
        for name in ("weights", "freeze", "num_classes"):
            keys.pop(name)
        with torch.device("meta"):
            model = create_model(keys.pop("name"), num_classes=10, **keys)
        counts[cell.variant.name] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    reference = counts["xception"]
    for name, count in counts.items():
        if name.endswith("-fc"):  # as in the paper, the layers come on top
            continue
        # Without residual connections the shortcuts' 1x1 convolutions are gone, as in the paper.
        tolerance = 0.09 if name.startswith("no-residual") else 0.04
        assert abs(count / reference - 1) < tolerance, name
        if name.startswith("segments"):
            assert abs(count / reference - 1) < 0.01, name


def test_imagenet_variants_change_the_papers_recipe_in_one_place(tmp_path):
    from xception.training.run_directory import flatten

    cells = {
        cell.variant.name: cell
        for cell in plan_cells(IMAGENET, choose_items(IMAGENET, []), tmp_path)
    }
    reference = flatten(cells["xception"].recipe().keys)

    def changed(name):
        keys = flatten(cells[name].recipe().keys)
        return {key for key in reference if keys.get(key) != reference[key]}

    assert changed("no-residual") == {"model.residual"}
    assert changed("activation-elu") == {"model.intermediate_activation"}
    assert changed("pointwise-first") == {"model.order"}
    assert changed("weight-decay-of-inception-v3") == {"optimizer.weight_decay"}
    assert "model.name" in changed("resnet-152")
    assert "model.name" in changed("vgg-16")
    assert changed("no-residual-rate-0.015") == {"model.residual", "optimizer.learning_rate"}


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
    with pytest.raises(InputError, match="holds no reproduction"):
        write_manifest(tmp_path, {"scale": "digits"})
    with pytest.raises(InputError, match=r"no manifest\.json"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        read_manifest(tmp_path)
