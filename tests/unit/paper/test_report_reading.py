"""The report as its reader sees it: found by number, comparable or not, groups kept apart."""

import csv
import re

import pytest
from report_rows import item_of, row_of

from xception.paper.manifest import write_manifest
from xception.paper.report import write_paper_report
from xception.paper.report_tables import claims_table
from xception.paper.results import read_results


def evaluated(images, **figures):
    return {"evaluation": {"images": images, **figures}}


@pytest.mark.parametrize("images", [50_000, 48_238])  # all, or without the blacklisted
def test_accuracies_on_imagenet_stand_against_the_published(tmp_path, write_cell, images):
    write_manifest(tmp_path, {"scale": "imagenet", "data": "ImageNet", "overrides": []})
    write_cell(tmp_path, "xception", 0, [0.779], **evaluated(images, top1=0.779, top5=0.94))
    write_cell(tmp_path, "inception-v3", 0, [0.777], **evaluated(images, top1=0.777, top5=0.94))
    (results,) = read_results([tmp_path])
    table = item_of(results, "table-1")
    row = row_of(table, "Xception (table 1, row 4)", "top-1")
    assert (row["published"], row["ours"], row["difference"]) == ("0.790", "0.7790", "-0.0110")
    gap = row_of(table, "Xception − Inception V3", "top-1")
    assert (gap["ours"], gap["difference"]) == ("+0.0020", "-0.0060")  # 0.002 - 0.008


def test_some_images_of_imagenet_are_not_its_validation_set(tmp_path, write_cell):
    write_manifest(tmp_path, {"scale": "imagenet", "data": "ImageNet", "overrides": []})
    write_cell(tmp_path, "xception", 0, [0.779], **evaluated(500, top1=0.779, top5=0.94))
    (results,) = read_results([tmp_path])
    row = row_of(item_of(results, "table-1"), "Xception (table 1, row 4)", "top-1")
    assert (row["ours"], row["difference"]) == ("0.7790", "not comparable")


@pytest.mark.parametrize(("images", "gap"), [(14_000, "+0.30"), (5_000, "not comparable")])
def test_map_compares_on_as_many_images_as_fasteval14k_has(tmp_path, write_cell, images, gap):
    write_manifest(tmp_path, {"scale": "jft", "data": "a folder", "overrides": []})
    figures = evaluated(images, map=0.07, k=100)
    write_cell(tmp_path, "multi-label-xception", 0, [0.07], "map", **figures)
    (results,) = read_results([tmp_path])
    row = row_of(item_of(results, "table-2"), "Xception, no FC layers")
    assert (row["MAP@100, ours"], row["difference"]) == ("7.00 %", gap)  # 7.00 - 6.70


def test_every_table_and_figure_is_found_by_its_number(directory):
    page, markdown, *_ = (path.read_text() for path in write_paper_report([directory], directory))
    for begin in (*(f"Figure {n}" for n in range(1, 11)), *(f"Table {n}" for n in (1, 2, 3))):
        assert re.search(rf"^### {begin}(, section [\d.]+)?: ", markdown, re.MULTILINE), begin
    targets = re.findall(r"href='#([^']+)'", page)
    assert len(targets) == len(set(targets)) == 2 + 18  # first page, claims, items
    assert all(page.count(f" id='{target}'") == 1 for target in targets)


def test_speeds_of_runs_are_told_from_measurements(directory):
    _, markdown, *_ = write_paper_report([directory], directory)
    parts = {part.split(":")[0]: part for part in markdown.read_text().split("### ")[1:]}
    told = "those of the training runs, one after the other"
    for name in ("Figure 6", "Figure 9, section 4.6", "Section 1.2", "Sections 1.2, 4.7 and 5"):
        assert told in parts[name]
    assert told not in parts["Table 1"]  # it has no speeds
    assert told not in parts["Figure 5"]


def test_a_caption_tells_of_a_spread_where_there_is_one(directory, tmp_path, write_cell):
    _, markdown, *_ = write_paper_report([directory], directory)
    assert "one standard deviation.](figures/digits-figure-9.svg)" in markdown.read_text()
    alone = tmp_path / "alone"
    write_manifest(alone, {"scale": "digits", "data": "digits", "overrides": []})
    for variant in ("xception", "no-residual"):
        write_cell(alone, variant, 0, [0.5, 0.9])
    _, markdown, *_ = write_paper_report([alone], alone)
    assert "One seed: no spread can be told.](figures/digits-figure-9.svg)" in markdown.read_text()


def test_two_data_sets_of_one_scale_keep_their_own_pictures_and_rows(tmp_path, write_cell):
    for name, top in (("CIFAR-10", 0.9), ("CIFAR-10, JPEG", 0.6)):
        write_manifest(tmp_path / name, {"scale": "cifar10", "data": name, "overrides": []})
        for variant in ("xception", "no-residual"):
            write_cell(tmp_path / name, variant, 0, [0.1, top])
    both, output = [tmp_path / "CIFAR-10", tmp_path / "CIFAR-10, JPEG"], tmp_path / "both"
    page, markdown, _, claims = write_paper_report(both, output)
    for k, stem in enumerate(("cifar10", "cifar10-2")):
        write_paper_report([both[k]], tmp_path / "alone")
        alone = (tmp_path / "alone" / "figures" / "cifar10-figure-9.svg").read_text()
        assert (output / "figures" / f"{stem}-figure-9.svg").read_text() == alone
        assert f"figures/{stem}-figure-9.svg" in markdown.read_text()
        assert f"id='{stem}-table-1'" in page.read_text()
    with claims.open() as file:
        data = [row["data"] for row in csv.DictReader(file)]
    assert data == ["CIFAR-10"] * 9 + ["CIFAR-10, JPEG"] * 9


def test_changed_recipes_are_told_apart_in_the_csv_files(tmp_path, write_cell):
    for words in ([], ["--trainer.max_epochs=2"]):
        output = tmp_path / f"run-{len(words)}"
        write_manifest(output, {"scale": "digits", "data": "digits", "overrides": words})
        write_cell(output, "xception", 0, [0.9])
    both = [tmp_path / "run-0", tmp_path / "run-1"]
    _, _, results, claims = write_paper_report(both, tmp_path / "both")
    for path in (results, claims):
        with path.open() as file:
            assert {row["changes"] for row in csv.DictReader(file)} == {
                "",
                "--trainer.max_epochs=2",
            }


def test_a_cell_that_another_directory_finished_counts_once(tmp_path, write_cell):
    for name in ("a", "b"):
        write_manifest(tmp_path / name, {"scale": "digits", "data": "digits", "overrides": []})
    write_cell(tmp_path / "a", "xception", 0, [0.9])
    begun = tmp_path / "b" / "cells" / "xception" / "seed-0"
    begun.mkdir(parents=True)
    (begun / "recipe.yaml").write_text("seed: 0\n")
    for order in (["a", "b"], ["b", "a"]):
        (results,) = read_results([tmp_path / name for name in order])
        assert (results.begun, results.failed) == ([], {})
    begun.with_name("seed-0.failed.json").write_text('{"reason": "the loss is NaN"}')
    (results,) = read_results([tmp_path / "b", tmp_path / "a"])
    assert (results.begun, results.failed) == ([], {})
    assert results.values("xception") == [0.9]


def test_networks_are_compared_on_the_seeds_that_both_have(tmp_path, write_cell):
    write_manifest(tmp_path, {"scale": "digits", "data": "digits", "overrides": []})
    for variant, values in (
        ("xception", {0: 0.9, 2: 0.8, 3: 0.5}),
        ("inception-v3", {1: 0.3, 2: 0.7, 3: 0.45}),
    ):
        for seed, value in values.items():
            write_cell(tmp_path, variant, seed, [value])
    (results,) = read_results([tmp_path])
    found = results.compare("xception", "inception-v3")
    assert found.count == 2  # seeds 2 and 3: 0.1 and 0.05
    assert found.difference == pytest.approx(0.075, abs=1e-12)


def test_more_seeds_than_can_be_enumerated_are_reported(tmp_path, write_cell):
    write_manifest(tmp_path, {"scale": "digits", "data": "digits", "overrides": []})
    for seed in range(24):
        write_cell(tmp_path, "xception", seed, [0.95 + seed % 3 / 100])
        write_cell(tmp_path, "inception-v3", seed, [0.9 + seed % 2 / 100])
    (results,) = read_results([tmp_path])
    row = row_of(claims_table(results), "Xception is better than Inception V3 at equal size")
    assert (row["pairs"], row["outcome"]) == ("24", "confirmed")


def test_profiles_show_every_point_and_their_legend_covers_none(directory, write_cell):
    from xception.paper.profile_plot import draw_profiles

    write_cell(directory, "no-residual-rate-0.3", 0, [0.1, 0.12])
    (results,) = read_results([directory])
    names = ["xception", "no-residual-rate-0.3"]
    figure = draw_profiles([(name, results.of(name)) for name in names])
    figure.canvas.draw()
    (axes,), (legend,) = figure.axes, figure.legends
    low, high = axes.get_ylim()
    for line in axes.lines:
        assert all(low <= value <= high for value in line.get_ydata())
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
