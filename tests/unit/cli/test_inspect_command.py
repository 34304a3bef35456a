import json
import subprocess
import sys

import pytest


def test_inspect_shows_the_flows_and_the_papers_number_of_parameters(command):
    code, out, _ = command("inspect", "xception")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    for flow in ("entry", "middle", "exit"):
        assert any(row[:2] == [flow, "flow"] for row in rows)
    assert ["conv1", "ConvBN", "32×149×149", "928", "19.2", "5.68"] in rows
    assert ["total", "1000", "22,855,952", "8,357.4"] in [row[:4] for row in rows]
    assert "22,855,952 trainable parameters" in out
    assert "8.357 billion multiply-adds" in out
    assert "…" not in out


def test_inspect_gives_json_at_any_depth(command):
    counts = {}
    for depth in (0, 1, 2):
        code, out, _ = command("inspect", "xception", "--json", "--depth", depth)
        assert code == 0
        found = json.loads(out)
        counts[depth] = len(found["layers"])
        assert sum(layer["parameters"] for layer in found["layers"]) == 22_855_952
        assert found["parameter_bytes"] == 4 * 22_855_952
    assert counts[1] == 4
    assert counts[1] < counts[2] < counts[0]


def test_inspect_describes_a_file_without_reading_its_weights(command, small_model, monkeypatch):
    def refuse(*_):
        raise AssertionError("the tensors were read")

    monkeypatch.setattr("safetensors.torch.load_file", refuse)
    code, out, _ = command("inspect", small_model, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["image_shape"] == [3, 32, 32]
    assert found["layers"][-1]["output_shape"] == [10]


def test_inspect_takes_a_recipe_and_counts_its_classes(command, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "data: {name: digits, image_size: 40}\nmodel: {stem_strides: [1, 1], width: 0.25}\n"
        "trainer: {max_epochs: 1}\n"
    )
    code, out, _ = command("inspect", recipe, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["image_shape"] == [3, 40, 40]
    assert found["arguments"]["width"] == 0.25
    assert found["arguments"]["num_classes"] == 10


def test_inspect_takes_another_image_size(command):
    code, out, _ = command("inspect", "xception", "--json", "--image-size", 150)
    assert (code, json.loads(out)["layers"][0]["output_shape"]) == (0, [32, 74, 74])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["xcption"], "did you mean 'xception'?"),
        (["xception", "--image-size", 70], "give 71 or more"),
        (["xception", "--depth", -1], "depth is -1"),
        (["xception", "--depht", 1], "did you mean '--depth'?"),
        (["xception", "more"], "too many arguments: more"),
    ],
)
def test_inspect_tells_mistakes_in_one_sentence(command, words, message):
    code, out, err = command("inspect", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("verb", ["predict", "evaluate", "inspect"])
def test_help_imports_nothing_heavy(verb):
    program = (
        "import sys; from xception.cli.main import main; "
        f"code = main(['{verb}', '--help']); "
        "heavy = {'torch', 'lightning', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"xception {verb}" in done.stdout
