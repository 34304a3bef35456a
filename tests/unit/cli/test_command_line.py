"""The dispatcher: verbs, exit codes, and how little it loads."""

import subprocess
import sys

import pytest

from xception.cli import main as dispatcher
from xception.cli.main import VERBS, main
from xception.errors import InputError, RunFailedError

HEAVY = ("torch", "lightning", "numpy", "jsonargparse", "matplotlib", "rich", "timm")


def loaded_by(code):
    """The heavy libraries that a fresh interpreter has loaded after running ``code``."""
    script = f"{code}\nimport sys\nprint(*[n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import xception; dir(xception); xception.__version__") == []
    assert "torch" in loaded_by("import xception; xception.Xception")  # so the list above is alive


def test_help_loads_nothing_heavy():
    assert loaded_by("from xception.cli.main import main; main(['--help'])") == []


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_names_its_defaults_and_loads_no_torch(verb, capsys):
    code = f"from xception.cli.main import main; assert main(['{verb}', '--help']) == 0"
    assert "torch" not in loaded_by(code)
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"xception {verb}" in text
    assert len(text.splitlines()) > 4


def test_recipe_help_lists_every_group_with_defaults_and_units(capsys):
    assert main(["train", "digits-xception", "--help"]) == 0
    text = capsys.readouterr().out
    for key in (
        "--model.middle_flow_repeats",
        "--data.batch_size",
        "--optimizer.learning_rate",
        "--schedule.warmup_epochs",
        "--loss.label_smoothing",
        "--polyak.decay",
        "--training.checkpoint_every_steps",
        "--trainer.max_epochs",
        "--seed",
    ):
        assert key in text, key
    assert "default: 0.045" in text


def test_version_is_the_packages(capsys):
    import xception

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == xception.__version__


def test_unknown_verb_is_answered_with_the_nearest(capsys):
    assert main(["trian"]) == 2
    error = capsys.readouterr().err
    assert "no verb 'trian'; did you mean 'train'" in error


def test_no_verb_prints_the_usage_and_fails(capsys):
    assert main([]) == 2
    assert "verbs:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InputError("the culprit; the remedy"), 2, "the culprit; the remedy"),
        (RunFailedError("the loss became nan"), 3, "the loss became nan"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(13, "Permission denied", b"run/events"), 2, "can't use run/events: Permission"),
        (OSError(28, "No space left on device", "model.ckpt"), 3, "no space left .*model.ckpt"),
    ],
)
def test_errors_become_one_sentence_and_an_exit_code(error, code, text, monkeypatch, capsys):
    class Verb:
        @staticmethod
        def main(words):
            raise error

    monkeypatch.setattr(dispatcher, "import_module", lambda name: Verb)
    assert main(["predict"]) == code
    printed = capsys.readouterr().err
    import re

    assert re.search(text, printed)
    assert printed.startswith("xception: error: ")
    assert "Traceback" not in printed


def test_a_bug_keeps_its_traceback(monkeypatch):
    class Verb:
        @staticmethod
        def main(words):
            raise TypeError("a bug of ours")

    monkeypatch.setattr(dispatcher, "import_module", lambda name: Verb)
    with pytest.raises(TypeError, match="a bug of ours"):
        main(["predict"])


def test_recipes_lists_one_line_each(capsys):
    from xception.recipes.load import shipped_recipes

    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["RECIPE", *shipped_recipes()]


def test_recipes_prints_one(capsys):
    assert main(["recipes", "digits-xception"]) == 0
    assert "middle_flow_repeats: 2" in capsys.readouterr().out
    assert main(["recipes", "digits"]) == 2
