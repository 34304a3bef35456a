import json

import pytest
from PIL import Image

from xception.benchmark import contenders
from xception.benchmark.contenders import Contender, choose_contenders
from xception.benchmark.figures import disagreements, rows_of
from xception.benchmark.machine import Machine
from xception.benchmark.race import Lane, StepCost, turn_orders
from xception.benchmark.work import Work
from xception.cli.main import main
from xception.errors import InputError

WORK = Work("infer", batch_size=4, image_size=75, dtype="float32", threads=1, device="cpu")


@pytest.mark.parametrize(
    ("models", "modes", "told"),
    [
        (["xcepton"], ["eager"], "there is no model 'xcepton'; did you mean 'xception'?"),
        (["tim:resnet18"], ["eager"], "there are no models of 'tim'; did you mean 'timm'?"),
        (["timm:resnet81"], ["eager"], "timm has no model 'resnet81'; did you mean"),
        (["torchvision:inception"], ["eager"], "torchvision has no model 'inception'"),
        (["keras:xception"], ["eager"], "keras has no model 'xception'; did you mean 'Xception'?"),
        (["xception"], ["channels-last"], "did you mean 'channels_last'?"),
        (["xception"], ["eager+fast"], "there is no mode 'fast'"),
        (["xception", "xception"], ["eager"], "'xception' is given twice; give it once"),
    ],
)
def test_choose_contenders_refuses_in_one_sentence(models, modes, told):
    with pytest.raises(InputError) as error:
        choose_contenders(models, modes)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["timm:xception41", "torchvision:resnet18", "keras:Xception"])
def test_a_missing_library_is_named_with_its_remedy(name, monkeypatch):
    monkeypatch.setattr(contenders, "find_spec", lambda library: None)
    library = name.partition(":")[0]
    with pytest.raises(InputError, match=f"{library} is not installed; pip install {library}"):
        choose_contenders([name], ["eager"])


def test_every_contender_takes_every_place_in_the_order():
    orders = turn_orders(3, 300, seed=1)
    first = [order[0] for order in orders]
    # 100 each by chance, with a standard deviation of 8: five of them
    assert all(abs(first.count(contender) - 100) < 41 for contender in range(3))


def test_rows_by_hand():
    lanes = [Lane(Contender("a", "eager")), Lane(Contender("b", "eager"))]
    lanes[0].seconds, lanes[0].cost = [2.0, 1.0, 4.0], StepCost(flop=60, bytes_moved=40)
    lanes[0].peak_bytes = 2**31
    lanes[1].failure = "its process died"
    row, broken = rows_of(lanes, WORK, Machine(bytes_per_second=100, flop_per_second=300))
    assert row.milliseconds == 2000
    assert row.quartiles == (1500, 3000)
    assert row.images_per_second == 2
    assert row.of_copy == 0.2  # 40 bytes in 2 s are 20 of 100
    assert row.of_matrix == 0.1  # 60 operations in 2 s are 30 of 300
    assert row.peak_gib == 2
    assert row.ratio == 1
    assert broken.failure == "its process died"
    assert broken.milliseconds is None


def test_modes_that_compute_something_else_are_told():
    lanes = [Lane(Contender("a", mode)) for mode in ("eager", "compile", "channels_last")]
    lanes[0].outcome, lanes[1].outcome, lanes[2].outcome = [1.0, -2.0], [1.1, -2.0], [1.0, -2.0]
    (told,) = disagreements(lanes, tolerance=0.04)
    assert told == "a, compile differs from eager by 5.0e-02"  # 0.1 of 2
    assert not disagreements(lanes, tolerance=0.06)


@pytest.mark.parametrize("verb", ["train", "infer"])
def test_benchmark_writes_table_json_picture_and_result(verb, tmp_path, capsys):
    words = ["xception", "--image-size", "75", "--batch-size", "2", "--rounds", "2"]
    words += ["--warm-up", "0"]
    words += ["--threads", "1", "--modes", "channels_last", "--hardware", "A (small) machine"]
    words += ["--save", str(tmp_path / "results"), "--device", "cpu"]
    words += ["--json", str(tmp_path / "x.json"), "--plot", str(tmp_path / "x.png")]
    assert main(["benchmark", verb, *words]) == 0
    shown = capsys.readouterr().out
    figures = json.loads((tmp_path / "x.json").read_text())
    (row,) = figures["contenders"]
    assert row["parameters"] == 22_855_952  # figure 5's, as in the tests of the network
    assert f"{row['parameters']:,}" in shown
    assert row["of_copy"] > 0
    assert row["of_matrix"] > 0
    assert row["peak_gib"] > 0.1
    assert Image.open(tmp_path / "x.png").size[0] > 500
    (result,) = (tmp_path / "results").iterdir()
    date = figures["conditions"]["date"]
    assert result.name == f"{verb}-cpu-float32-a-small-machine-{date}.md"
    assert f"xception benchmark {verb} xception" in result.read_text()


@pytest.mark.parametrize("verb", ["train", "infer", "data", "kernels"])
def test_benchmark_names_an_unknown_option_in_one_line(verb, capsys):
    assert main(["benchmark", verb, "--fast"]) == 2
    error = capsys.readouterr().err
    assert "there is no option --fast" in error
    assert error.count("\n") == 1


def test_benchmark_names_an_unknown_verb_in_one_line(capsys):
    assert main(["benchmark", "inference"]) == 2
    assert "there is no verb 'benchmark inference'; did you mean" in capsys.readouterr().err
