import json

import numpy as np
import pytest
import torch
from PIL import Image

from xception.benchmark import data_pipelines
from xception.benchmark.contenders import Contender
from xception.benchmark.data_figures import compare_pixels, data_rows
from xception.benchmark.data_images import find_jpegs, generate_jpegs, source_of
from xception.benchmark.data_loader import measure_epochs, measure_index, measure_start
from xception.benchmark.data_pipelines import (
    PIPELINES,
    TRANSFORMS,
    DataContender,
    build_pipeline,
    choose_pipelines,
    takes_part,
)
from xception.benchmark.data_work import DataWork, prepare_pipeline
from xception.benchmark.machine import Machine
from xception.benchmark.race import Lane
from xception.cli.main import main
from xception.errors import InputError, RunFailedError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("jpegs")
    generate_jpegs(made, 4)
    return made


def work_of(folder, transforms="crops", size=40, names=None):
    names = tuple(names or find_jpegs(folder, 4))
    return DataWork(str(folder), names, transforms, 2, size, threads=1)


@pytest.mark.parametrize("transforms", TRANSFORMS)
@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_gives_bytes_of_these_files(folder, name, transforms):
    if not takes_part(DataContender(name), transforms):
        return
    source = source_of(folder, find_jpegs(folder, 4))
    torch.manual_seed(0)
    found = build_pipeline(name, source, transforms, 60)(range(1, 4))
    assert found.shape == (3, 3, 60, 60)
    assert found.dtype == torch.uint8
    if transforms == "evaluation":
        # The same middle of the same photographs: they differ in how a square is made of it.
        ours = build_pipeline("xception:exact", source, transforms, 60)(range(1, 4))
        for mine, theirs in zip(ours.float(), found.float(), strict=True):
            assert (mine.mean((1, 2)) - theirs.mean((1, 2))).abs().max() < 25


def test_steps_go_through_all_batches_in_turn(folder):
    prepared = prepare_pipeline(DataContender("xception:exact"), work_of(folder))
    batches = [prepared.step() for _ in range(3)]
    assert not torch.equal(batches[0], batches[1])
    assert torch.equal(batches[0], batches[2])  # four files are two batches of two
    # Two files' bytes on average, and twice 3 x 40 x 40 results.
    read = sum(path.stat().st_size for path in folder.iterdir()) / 4
    assert prepared.cost.bytes_moved == pytest.approx(2 * (read + 4800), abs=1)


def test_a_pipeline_whose_results_are_wrong_is_not_timed(folder, monkeypatch):
    wrong = torch.zeros(2, 3, 40, 40, dtype=torch.uint8)
    monkeypatch.setattr(
        "xception.benchmark.data_work.build_pipeline", lambda *a: lambda places: wrong
    )
    with pytest.raises(RunFailedError, match="nothing is timed"):
        prepare_pipeline(DataContender("timm"), work_of(folder))


def test_rows_by_hand(folder):
    work = work_of(folder)
    names = ("xception:exact", "torchvision", "timm", "torchvision:native")
    lanes = [Lane(DataContender(name)) for name in names]
    lanes[0].seconds, lanes[1].seconds = [0.2, 0.1, 0.3], [0.5, 0.4, 0.6]
    lanes[2].failure = "broken"
    lanes[3].seconds = [0.4]
    ours, peer, broken, native = data_rows(lanes, work, Machine(1e9, 1e9))
    assert ours.milliseconds == pytest.approx(100)  # 0.2 s for two images
    assert ours.quartiles == pytest.approx((75, 125))
    assert ours.images_per_second == pytest.approx(10)
    assert ours.usual_ratio == pytest.approx(2.5)  # ImageFolder, which ran, takes 0.5 s
    assert ours.ratio == pytest.approx(2)  # its own decoder 0.4 s
    assert peer.ratio == pytest.approx(0.8)
    assert native.ratio == pytest.approx(1)
    assert broken.failure == "broken"


def test_pixels_differ_where_crops_are_shrunk_in_decoding_and_nowhere_else(folder):
    assert compare_pixels(work_of(folder, size=299)).changed == 0  # no crop has twice that size
    found = compare_pixels(work_of(folder, size=60))
    assert found.crops == 4
    assert 1 <= found.changed <= 4
    assert 0 < found.mean <= found.largest_mean < 12
    assert found.mean >= found.largest_mean / 4  # the mean over four crops


def test_the_index_and_the_loader_are_measured(folder):
    index = measure_index(1000)
    # 30 or so letters, 8 bytes for the end, 8 for the label
    assert 16 + 24 < index.bytes_an_entry < 16 + 32
    names = find_jpegs(folder, 4)
    start = measure_start(folder, names, "fork", files=9, workers=1, image_size=40)
    assert start.seconds > 0
    assert start.private_mb is None or 1 < start.private_mb < 1000


@pytest.mark.slow
def test_epochs_are_measured(folder):
    epochs = measure_epochs(folder, find_jpegs(folder, 4), epochs=2, workers=1, image_size=40)
    assert [epoch.epoch for epoch in epochs] == [0, 1]
    assert all(epoch.images_per_second > 0 for epoch in epochs)


def test_generated_pictures_are_functions_of_their_number_and_as_large_as_imagenets(tmp_path):
    (name,) = generate_jpegs(tmp_path, 1)
    first = (tmp_path / name).read_bytes()
    generate_jpegs(tmp_path, 1)
    assert (tmp_path / name).read_bytes() == first
    assert 80_000 < len(first) < 140_000
    assert Image.open(tmp_path / name).size == (500, 375)
    assert np.asarray(Image.open(tmp_path / name)).std() > 20


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["timn"], "there is no pipeline 'timn'; did you mean 'timm'?"),
        (["timm", "timm"], "'timm' is given twice; give it once"),
        (["torchvision"], "torchvision is not installed; pip install torchvision"),
    ],
)
def test_choose_pipelines_refuses(names, told, monkeypatch):
    if "not installed" in told:
        monkeypatch.setattr(data_pipelines, "find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        choose_pipelines(names)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "there is no folder nowhere; give one with JPEGs, or none"),
        (["--files", "0"], "--files is 0; give 1 or more"),
        (["--pipelines", "dali"], "there is no pipeline 'dali'"),
        (["--transforms", "crop"], "there are no transforms 'crop'; did you mean 'crops'?"),
        (["--transforms", "crops", "crops"], "'crops' is given twice; give it once"),
        (["--plot", "x.bmp"], "give a name that ends with .svg, .png or .pdf"),
        (["--json", "nowhere/x.json"], "there is no folder nowhere; create it first"),
        (["--round", "3"], "there is no option --round; did you mean '--rounds'?"),
    ],
)
def test_benchmark_data_names_a_mistake_in_one_line(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", "data", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_benchmark_data_needs_a_full_batch(folder, capsys):
    assert main(["benchmark", "data", str(folder)]) == 2
    assert "there are 4 JPEGs, fewer than a batch of 50" in capsys.readouterr().err


def test_benchmark_data_writes_table_json_picture_and_result(folder, tmp_path, capsys):
    words = [str(folder), "--batch-size", "2", "--rounds", "3", "--image-size", "40"]
    words += ["--workers", "0"]
    words += ["--transforms", "crops", "--pipelines", "xception:exact", "xception:fast", "timm"]
    words += ["--hardware", "A (small) machine", "--save", str(tmp_path / "results")]
    words += ["--json", str(tmp_path / "x.json"), "--plot", str(tmp_path / "x.png")]
    assert main(["benchmark", "data", *words]) == 0
    shown = capsys.readouterr().out
    figures = json.loads((tmp_path / "x.json").read_text())
    assert [row["pipeline"] for row in figures["rows"]] == [
        "xception:exact",
        "xception:fast",
        "timm",
    ]
    assert figures["rows"][2]["ratio"] == 1  # timm's is the only peer
    assert figures["conditions"]["images"] == "a folder's"
    assert Image.open(tmp_path / "x.png").size[0] > 500
    (result,) = (tmp_path / "results").iterdir()
    date = figures["conditions"]["date"]
    assert result.name == f"data-a-small-machine-{date}.md"
    text = result.read_text()
    assert "xception benchmark data" in text
    for row in figures["rows"]:
        assert f"{row['milliseconds']:.3f}" in text
        assert f"{row['milliseconds']:.3f}" in shown


def test_contenders_that_fail_leave_the_others_their_figures(folder):
    from xception.benchmark.race import run_race

    lanes = run_race(
        [DataContender("xception:exact"), Contender("no pipeline", "eager")],
        work_of(folder),
        rounds=2,
        warm_up=0,
        prepare=prepare_pipeline,
    )
    assert len(lanes[0].seconds) == 2
    assert lanes[0].peak_bytes > 50e6  # PyTorch alone takes more
    assert "AttributeError" in lanes[1].failure
