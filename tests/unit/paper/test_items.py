"""What each scale has of the paper: items, networks, claims."""

import pytest
import torch

from xception.paper.cells import (
    plan_cells,
)
from xception.paper.claims import claims
from xception.paper.items import choose_items, items
from xception.paper.large_scales import IMAGENET, JFT
from xception.paper.scale import MULTI_LABEL_NETWORKS, VGG_STYLE
from xception.paper.scales import SCALES
from xception.paper.small_scales import CIFAR10, DIGITS
from xception.paper.variants import variants
from xception.recipes.schema import network_arguments

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
        arguments = network_arguments(keys)
        with torch.device("meta"):
            model = create_model(keys["name"], num_classes=keys["num_classes"], **arguments)
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


def test_claims_say_which_variant_is_to_be_better_than_which():
    plain, dense = "multi-label-xception", "multi-label-xception-fc"
    plain_3, dense_3 = "multi-label-inception-v3", "multi-label-inception-v3-fc"
    found = [(c.item, c.kind, c.ours, c.theirs, c.metric, c.beside) for c in claims(DIGITS)]
    better = ("better", "xception")
    assert found == [
        ("table-1", *better, "inception-v3", "top1", None),  # section 4.5.1
        ("figure-9", *better, "no-residual", "top1", None),  # section 4.6
        ("learning-rates", *better, "no-residual-rate-0.03", "top1", None),
        ("learning-rates", *better, "no-residual-rate-0.3", "top1", None),
        ("figure-10", *better, "activation-relu", "top1", None),  # section 4.7
        ("figure-10", *better, "activation-elu", "top1", None),
        ("order", "equal", "xception", "pointwise-first", "top1", None),  # section 1.2
        ("weight-decay", *better, "weight-decay-of-inception-v3", "top1", None),  # section 4.3
        ("spectrum", "better", "segments-1-relu", "segments-1", "top1", None),  # section 4.7
        ("table-2", "better", plain, plain_3, "map", None),
        ("table-2", "better", dense, dense_3, "map", None),
        ("table-2", "better", dense, plain, "map", None),
        ("table-2", "better", dense_3, plain_3, "map", None),
        ("vgg-style", "better", VGG_STYLE, plain_3, "map", None),  # section 4.6
        ("table-2", "better", plain, plain_3, "map", ("xception", "inception-v3")),
    ]


@pytest.mark.parametrize("scale", [DIGITS, CIFAR10], ids=lambda scale: scale.name)
def test_every_variant_builds_with_an_equal_parameter_count(scale, tmp_path):
    from xception.models.registry import create_model

    counts = {}
    for cell in plan_cells(scale, choose_items(scale, []), tmp_path, 1):
        keys = cell.recipe().group("model")
        with torch.device("meta"):
            model = create_model(keys["name"], num_classes=10, **network_arguments(keys))
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


NO_CONDITIONS = {  # they change no figure, or stand in an item's paragraph of conditions
    *("data.name", "data.batch_size", "data.image_size", "data.evaluation_batch_size"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.log_every_n_steps"),
    *("trainer.val_check_interval", "trainer.check_val_every_n_epoch"),
    *("training.checkpoint_every_steps", "model.num_classes", "schedule.final_factor"),
    "data.shift",  # how far "some pixels" is
}
SAID = {
    "data.color_distortion": "distorted",
    "data.crop": "instead of cropped",
    "data.crop_fraction": "held-out images are taken whole",
    "data.flip": "flipped",
    "map.k": "MAP@4",
    "model.dropout": "dropout",
    "model.middle_flow_repeats": "middle flow has 2 modules instead of 8",
    "model.stem_strides": "stem's strides",
    "model.width": "narrow",
    "optimizer.learning_rate": "learning rate",
    "optimizer.name": "SGD",
    "optimizer.nesterov": "SGD",
    "optimizer.weight_decay": "weight decay",
    "polyak.decay": "Polyak decay",
    "schedule.name": "cosine",
    "schedule.warmup_epochs": "warm-up",
    "training.batch_norm_momentum": "BatchNorm's momentum is 0.1",
}


@pytest.mark.parametrize(
    ("scale", "variant", "papers", "said"),
    [
        (DIGITS, "xception", IMAGENET, DIGITS.deviations),
        (CIFAR10, "xception", IMAGENET, CIFAR10.deviations),
        (DIGITS, "multi-label-xception", JFT, DIGITS.multi_label.deviations),
    ],
    ids=["digits", "cifar10", "digit-scenes"],
)
def test_every_key_that_departs_from_the_papers_recipe_is_told(
    tmp_path, scale, variant, papers, said
):
    from xception.training.run_directory import flatten

    def keys(of, name):
        cells = plan_cells(of, choose_items(of, []), tmp_path, 1)
        return flatten(next(c for c in cells if c.variant.name == name).recipe().keys)

    ours = keys(scale, variant)
    theirs = keys(papers, variant)
    changed = {key for key in ours if ours[key] != theirs.get(key)} - NO_CONDITIONS
    told = "; ".join(said)
    assert {key for key in changed if SAID.get(key, "no word for it") not in told} == set()
    assert len(changed) > 10


@pytest.mark.parametrize("scale", [DIGITS, CIFAR10], ids=lambda scale: scale.name)
def test_the_two_networks_share_their_recipe_but_for_the_weight_decay(tmp_path, scale):
    from xception.training.run_directory import flatten

    cells = plan_cells(scale, choose_items(scale, ["table-1"]), tmp_path, 1)
    ours, theirs = (flatten(cell.recipe().keys) for cell in cells)
    shared = {key for key in ours.keys() | theirs.keys() if not key.startswith("model.")}
    assert {key for key in shared if ours.get(key) != theirs.get(key)} == {"optimizer.weight_decay"}
    assert theirs["optimizer.weight_decay"] == 4 * ours["optimizer.weight_decay"]  # section 4.3
