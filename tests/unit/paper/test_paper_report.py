"""The report on reproductions: ours beside the paper's, nothing filled in."""

import csv
import json
import re

import pytest
from report_rows import item_of, row_of

from xception.errors import InputError
from xception.paper.manifest import write_manifest
from xception.paper.report import write_paper_report
from xception.paper.report_tables import claims_table, spectrum_answer
from xception.paper.results import read_results

SPEED = {
    "parameters": {"Inception V3": 23_626_728, "Xception": 22_855_952},
    "measured_parameters": {"Inception V3": 704_906, "Xception": 729_914},
    "steps_per_second": {"Inception V3": 5.0, "Xception": 8.0},
    "ratio": 1.6,
    "batch_size": 48,
    "image_size": 32,
    "rounds": 20,
    "device": "cpu",
    "hardware": {"processor": "A processor", "threads": 2, "gpus": []},
    "versions": {"torch": "2.14.0"},
    "commit": None,
}


def test_table_1_has_published_ours_and_difference(directory):
    (results,) = read_results([directory])
    table = item_of(results, "table-1")
    row = row_of(table, "Xception (table 1, row 4)", "top-1")
    assert row["published"] == "0.790"
    # mean of 0.95 0.96 0.94 0.95 0.96 0.95 is 5.71 / 6, squares of the deviations 2.83e-4 / 5
    assert row["ours"] == "0.9517 ± 0.0075"
    assert row["difference"] == "not comparable"  # digits are not ImageNet
    assert row["seeds"] == "6"
    gap = row_of(table, "Xception − Inception V3", "top-1")
    assert gap["published"] == "+0.008"
    assert gap["ours"].startswith("+0.0467 [")  # (0.05 + 0.04 + 0.05 + 0.04 + 0.05 + 0.05) / 6
    assert gap["difference"] == "not comparable"


def test_what_was_not_run_says_so_and_nothing_is_filled_in(directory):
    (results,) = read_results([directory])
    for network in ("VGG-16", "ResNet-152"):
        row = row_of(item_of(results, "table-1"), network, "top-5")
        assert (row["ours"], row["difference"], row["seeds"]) == ("not run", "–", "0")
    *of_jft, of_imagenet = item_of(results, "table-2").rows  # the last is table 1's gain
    for rows in (of_jft, item_of(results, "table-3").rows):
        assert {row[3] for row in rows} == {"not run"}
    assert of_imagenet[3] == "5.16 ± 0.61 %"  # 0.05/0.90, 0.04/0.92, 0.05/0.89, 0.04/0.91, ...
    for name in ("figure-7", "figure-8", "vgg-style"):
        assert {row[2] for row in item_of(results, name).rows} == {"not run"}
    row = row_of(item_of(results, "figure-10"), "intermediate ReLU")
    assert (row["top-1, ours"], row["parameters"], row["seeds"]) == ("not run", "–", "0")


def test_claims_follow_the_rule(directory):
    (results,) = read_results([directory])
    table = claims_table(results)
    outcome = {row[0]: row[7] for row in table.rows}
    assert outcome["Xception is better than Inception V3 at equal size"] == "confirmed"
    assert outcome["Xception is better with residual connections than without"] == "contradicted"
    assert outcome["the order of the two operations makes no difference"] == "not run"
    assert len(table.rows) == 15


def test_table_3_stands_beside_the_published_ratio(directory):
    (directory / "speed.json").write_text(json.dumps(SPEED))
    (results,) = read_results([directory])
    table = item_of(results, "table-3")
    row = row_of(table, "Xception (table 3, row 2)", "parameters")
    assert (row["published"], row["ours"], row["difference"]) == ("22,855,952", "22,855,952", "+0")
    assert row_of(table, "Xception / Inception V3")["ours"] == "1.600"
    assert row_of(table, "Xception / Inception V3")["published"] == "28/31 = 0.903"


def test_report_is_written_with_pictures_inside(directory):
    paths = write_paper_report([directory], directory)
    page, markdown, results, claims = (path.read_text() for path in paths)
    assert "How much this can decide" in page[: page.index("<h2 id='digits-claims'>")]
    # five drawings, and figures 6, 9 and the learning rates, which have two curves each
    assert page.count("data:image/svg+xml;base64,") == 5 + 3
    assert not re.search(r"(src|href)='(?!data:|#)", page)  # self-contained
    for link in re.findall(r"!\[.*?\]\((.*?)\)", markdown):
        assert (directory / link).is_file()
        assert (directory / link).with_suffix(".png").is_file()
    assert "A processor, 2 threads" in markdown
    assert "Seeds: 0, 1, 2, 3, 4, 5." in markdown
    assert "The paper (section 1.2): which of the two operations comes first" in markdown
    assert "Not run: `xception reproduce table-2 --scale digits`." in markdown
    rows = list(csv.DictReader(results.splitlines()))
    assert len(rows) == 18
    assert rows[0]["variant"] == "inception-v3"
    assert float(rows[0]["top1"]) == 0.90
    assert claims.count("\n") == 1 + 15


def test_failed_and_unfinished_cells_are_listed(directory):
    broken = directory / "cells" / "activation-relu" / "seed-0"
    broken.mkdir(parents=True)
    (broken / "recipe.yaml").write_text("seed: 0\n")
    failure = directory / "cells" / "activation-elu" / "seed-0.failed.json"
    (failure.parent / "seed-0").mkdir(parents=True)
    (failure.parent / "seed-0" / "recipe.yaml").write_text("seed: 0\n")  # begun, then failed
    failure.write_text(json.dumps({"reason": "the loss is <NaN> at step 7"}))
    page, markdown, results, _ = write_paper_report([directory], directory)
    assert "18 cells are finished, 1 failed, 1 are unfinished" in markdown.read_text()
    assert "the loss is &lt;NaN&gt; at step 7" in page.read_text()
    states = {row["variant"]: row["state"] for row in csv.DictReader(results.open())}
    assert (states["activation-relu"], states["activation-elu"]) == ("unfinished", "failed")


def test_directories_of_one_scale_are_taken_together(tmp_path, write_cell):
    manifest = {"scale": "digits", "data": "digits", "overrides": []}
    for seed in (0, 1):
        write_manifest(tmp_path / f"machine-{seed}", manifest)
        write_cell(tmp_path / f"machine-{seed}", "xception", seed, [0.9 + seed / 100])
    directories = [tmp_path / "machine-0", tmp_path / "machine-1"]
    (results,) = read_results(directories)
    assert results.values("xception") == [0.9, 0.91]
    with pytest.raises(InputError, match="the same cell"):
        read_results([directories[0], directories[0]])


def test_different_data_are_not_mixed(tmp_path, write_cell):
    for name in ("CIFAR-10", "CIFAR-10, JPEG"):
        write_manifest(tmp_path / name, {"scale": "cifar10", "data": name, "overrides": []})
    found = read_results([tmp_path / "CIFAR-10", tmp_path / "CIFAR-10, JPEG"])
    assert [results.data for results in found] == ["CIFAR-10", "CIFAR-10, JPEG"]


def test_damaged_files_are_named(directory):
    (directory / "cells" / "xception" / "seed-0" / "summary.json").write_text("{")
    with pytest.raises(InputError, match=r"seed-0/summary\.json is damaged.*; delete it"):
        read_results([directory])
    (directory / "cells" / "xception" / "seed-0" / "summary.json").write_text("{}")
    with pytest.raises(InputError, match=r"seed-0 is damaged: summary\.json lacks 'evaluation'"):
        read_results([directory])


def test_an_empty_recipe_is_told(directory):
    (directory / "cells" / "xception" / "seed-1" / "recipe.yaml").write_text("")
    with pytest.raises(InputError, match=r"seed-1 is damaged: recipe\.yaml holds no keys"):
        read_results([directory])


def test_spectrum_names_the_best_point_and_does_not_decide(directory, write_cell):
    (results,) = read_results([directory])
    assert spectrum_answer(results) is None  # one point is no spectrum
    write_cell(directory, "segments-4-relu", 0, [0.99])
    (results,) = read_results([directory])
    answer = spectrum_answer(results)
    assert "0.9900: 4 segments, ReLU" in answer
    assert "this is no decision" in answer


def test_profile_averages_the_steps_that_all_seeds_have(directory):
    from xception.paper.profile_plot import profile

    (results,) = read_results([directory])
    steps, values = profile(results.of("xception"))
    assert steps.tolist() == [29.0, 58.0]
    assert values.shape == (6, 2)
    assert values.mean(0) == pytest.approx([5.71 / 12, 5.71 / 6])


def test_speed_along_the_spectrum_is_the_one_measured_in_turns(directory, write_cell):
    from xception.paper.spectrum_plot import draw_spectrum

    for name in ("segments-1", "segments-1-relu"):
        write_cell(directory, name, 0, [0.9])
    (results,) = read_results([directory])
    row = row_of(item_of(results, "spectrum"), "1 segment, no activation")
    assert row["images/s"] == "700"  # of the training run
    speeds = {"segments-1": 500.0, "xception": 400.0}
    (directory / "spectrum-speed.json").write_text(
        json.dumps({**SPEED, "images_per_second": speeds, "precision": "bf16-mixed"})
    )
    (results,) = read_results([directory])
    table = item_of(results, "spectrum")
    assert row_of(table, "1 segment, no activation")["images/s, in turns"] == "500"
    assert row_of(table, "1 segment, ReLU")["images/s, in turns"] == "–"
    right = draw_spectrum(results).axes[1]
    assert [list(c.lines[0].get_ydata()) for c in right.containers] == [[500.0, 400.0]]
    _, markdown, *_ = write_paper_report([directory], directory)
    assert "20 training steps of 48 random images of 32 pixels on cpu, bf16-mixed" in (
        markdown.read_text()
    )


def test_spectrum_plot_has_a_place_for_every_point(directory, write_cell):
    from xception.paper.spectrum_plot import draw_spectrum

    for segments in (1, 4):
        for seed in (0, 1):
            write_cell(directory, f"segments-{segments}", seed, [0.9 + segments / 100])
    (results,) = read_results([directory])
    left, right = draw_spectrum(results).axes
    assert [tick.get_text() for tick in left.get_xticklabels()] == [
        *("1", "2", "4", "8", "16"),
        "depthwise",
    ]
    heights = left.containers[0].lines[0].get_ydata()
    assert list(heights) == pytest.approx([0.91, 0.94, 5.71 / 6])
    assert right.get_ylabel() == "training speed, images/s"
