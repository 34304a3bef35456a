"""The report on the multi-label task: table 2, figures 7 and 8, the VGG-style network."""

import csv

import pytest
from report_rows import item_of, row_of

from xception.paper.manifest import write_manifest
from xception.paper.report import write_paper_report
from xception.paper.report_tables import claims_table
from xception.paper.results import read_results

MULTI_LABEL = {
    "multi-label-inception-v3": [0.80, 0.70],
    "multi-label-xception": [0.88, 0.84],
    "multi-label-inception-v3-fc": [0.85, 0.75],
    "vgg-style": [0.90, 0.60],
}


@pytest.fixture
def with_multi_label(directory, write_cell):
    for variant, values in MULTI_LABEL.items():
        for seed, value in enumerate(values):
            write_cell(directory, variant, seed, [value / 2, value], "map")
    return directory


def test_table_2_has_map_in_percent_beside_the_published(with_multi_label):
    (results,) = read_results([with_multi_label])
    table = item_of(results, "table-2")
    row = row_of(table, "Xception, no FC layers")
    assert (row["place"], row["MAP@100, published"]) == ("table 2, row 2", "6.70 %")
    assert row["MAP@4, ours"] == "86.00 ± 2.83 %"  # 0.88, 0.84: deviation 0.02 x sqrt 2
    assert row["difference"] == "not comparable"  # MAP@4 of digit scenes is not FastEval14k's
    assert row_of(table, "Xception with FC layers")["MAP@4, ours"] == "not run"
    gap = row_of(table, "Xception − Inception V3, no FC")
    assert gap["MAP@100, published"] == "+0.34 points"  # 6.70 - 6.36
    assert gap["MAP@4, ours"].startswith("+11.00 points [")  # (8 + 14) / 2
    row = row_of(table, "with − without FC layers, Inception V3")
    assert row["MAP@100, published"] == "+0.14 points"  # 6.50 - 6.36
    assert row["MAP@4, ours"].startswith("+5.00 points")


def test_table_2_has_the_relative_gains_of_both_tasks(with_multi_label):
    (results,) = read_results([with_multi_label])
    table = item_of(results, "table-2")
    row = row_of(table, "relative gain of Xception over Inception V3, no FC layers")
    assert row["MAP@100, published"] == "+5.3 %"  # 6.70 / 6.36
    assert row["MAP@4, ours"] == "15.00 ± 7.07 %"  # 0.08 / 0.80 and 0.14 / 0.70
    row = row_of(table, "relative gain of Xception over Inception V3, with FC layers")
    assert (row["place"], row["MAP@100, published"]) == ("section 4.5.1", "+4.3 %")
    assert (row["MAP@4, ours"], row["difference"], row["seeds"]) == ("not run", "–", "0")
    row = row_of(table, "relative gain of Xception over Inception V3, top-1 of table 1")
    assert (row["MAP@100, published"], row["seeds"]) == ("+1.0 %", "6")  # 0.790 / 0.782


def test_vgg_style_is_compared_with_inception_v3(with_multi_label):
    (results,) = read_results([with_multi_label])
    table = item_of(results, "vgg-style")
    assert table.heading[2:4] == ("MAP@4, ours", "difference to Inception V3, no FC layers")
    assert table.rows[0][3] == "–"
    assert table.rows[1][3].startswith("+0.0000 [")  # (0.1 - 0.1) / 2


def test_the_larger_gain_is_the_difference_of_relative_gains(with_multi_label):
    (results,) = read_results([with_multi_label])
    row = row_of(claims_table(results), "Xception's relative gain over Inception V3 is larger")
    # 0.08 / 0.80 - 0.05 / 0.90 and 0.14 / 0.70 - 0.04 / 0.92, mean
    mean = (0.1 - 0.05 / 0.9 + 0.2 - 0.04 / 0.92) / 2
    assert (row["of"], row["pairs"], row["outcome"]) == ("relative gain", "2", "undecided")
    assert row["difference"].startswith(f"{mean:+.4f} [")
    row = row_of(
        claims_table(results), "Xception is better than Inception V3 on the multi-label task, no"
    )
    assert (row["of"], row["pairs"]) == ("MAP@4", "2")


def test_jfts_gain_stands_beside_that_of_imagenets_directory(tmp_path, write_cell):
    write_manifest(tmp_path / "jft", {"scale": "jft", "data": "a folder", "overrides": []})
    write_cell(tmp_path / "jft", "multi-label-xception", 0, [0.88], "map")
    write_cell(tmp_path / "jft", "multi-label-inception-v3", 0, [0.80], "map")
    write_manifest(tmp_path / "imagenet", {"scale": "imagenet", "data": "I", "overrides": []})
    write_cell(tmp_path / "imagenet", "xception", 0, [0.82])
    write_cell(tmp_path / "imagenet", "inception-v3", 0, [0.80])
    text = "Xception's relative gain over Inception V3 is larger"
    (alone,) = read_results([tmp_path / "jft"])
    assert row_of(claims_table(alone), text)["outcome"] == "not run"
    jft, _ = read_results([tmp_path / "jft", tmp_path / "imagenet"])
    row = row_of(claims_table(jft), text)
    assert (row["difference"], row["pairs"]) == ("+0.0750", "1")  # 0.08 / 0.80 - 0.02 / 0.80


def test_profiles_of_the_multi_label_runs_are_of_map(with_multi_label, tmp_path):
    from xception.paper.items import items
    from xception.paper.report_content import _figure

    (results,) = read_results([with_multi_label])
    (axes,) = _figure(results, items(results.scale)["figure-7"]).axes
    assert axes.get_ylabel() == "MAP@4, held-out images"
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.43, 0.86])
    assert _figure(results, items(results.scale)["figure-8"]) is None  # one network only


def test_the_multi_label_cells_are_in_the_csv_and_their_data_are_named(with_multi_label):
    _, markdown, table, _ = write_paper_report([with_multi_label], with_multi_label)
    rows = [row for row in csv.DictReader(table.open()) if row["variant"] == "vgg-style"]
    assert [(row["top1"], row["map"]) for row in rows] == [("", "0.9"), ("", "0.6")]
    text = markdown.read_text()
    assert "Data: scenes of scikit-learn's handwritten digits" in text
    assert "decided by the same rule on the MAP@k" in text
