"""The documentation: the site builds without a warning, is complete, its links lead somewhere."""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("mkdocs", reason="the extra docs is not installed")
pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def generate():
    """The modules in ``docs/generate``, which are no package."""
    sys.path.insert(0, str(DOCS / "generate"))
    yield importlib.import_module
    sys.path.remove(str(DOCS / "generate"))


class _Links(HTMLParser):
    """Collects what a page points to, what it loads, and the anchors that it has."""

    def __init__(self):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found.get("id"), found.get("name")}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "link" and found.get("href"):
            self.loaded.append(found["href"])
        if tag in ("img", "script", "iframe", "source") and found.get("src"):
            self.loaded.append(found["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` builds it, in a folder of its own.

    Without ``--quiet``, which hides warnings from ``--strict`` too: it would let all of them pass.
    """
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def parsed(site):
    pages = {}
    for path in sorted(site.rglob("*.html")):
        pages[path] = _Links()
        pages[path].feed(path.read_text(encoding="utf-8"))
    return pages


def test_no_page_loads_anything_from_the_network(parsed):
    for path, page in parsed.items():
        for address in page.loaded:
            assert not re.match(r"(https?:)?//", address), f"{path}: {address}"


def test_every_link_leads_to_a_page_and_an_anchor(site, parsed):
    for path, page in parsed.items():
        if path.name == "404.html":
            continue
        for address in [*page.links, *page.loaded]:
            if re.match(r"[a-z]+:", address):
                continue
            place, _, anchor = unquote(address).partition("#")
            target = (path.parent / place).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.relative_to(site)}: {address}"
            if anchor and target in parsed:
                assert anchor in parsed[target].anchors, f"{path.relative_to(site)}: {address}"


def test_the_site_has_every_page_verb_recipe_and_module(site):
    from xception.cli.main import VERBS
    from xception.recipes.load import shipped_recipes

    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS).with_suffix(".html")).exists(), page
    for verb in VERBS:
        text = (site / f"verbs/{verb}.html").read_text(encoding="utf-8")
        assert "All options" in text, verb
    for recipe in shipped_recipes():
        assert (site / f"recipes/{recipe}.html").exists(), recipe
    package = ROOT / "src" / "xception"
    for module in package.rglob("*.py"):
        if not module.stem.startswith("__"):
            page = site / "api" / module.relative_to(package).with_suffix(".html")
            assert page.exists(), page


def test_nothing_generated_is_left_as_markup(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "generate: " not in text, path
        assert "&lt;!--" not in text, path


def test_angle_brackets_of_an_options_text_need_no_backslash(site):
    page = (site / "verbs" / "reproduce.html").read_text(encoding="utf-8")
    assert "runs/reproduce-&lt;scale&gt;" in page
    for path in site.rglob("*.html"):
        assert "\\&lt;" not in path.read_text(encoding="utf-8"), path


def test_options_of_a_verb_are_on_its_page(site):
    text = (site / "verbs/evaluate.html").read_text(encoding="utf-8")
    assert "--class-weights" in text
    assert "Images per forward pass." in text
    keys = (site / "recipe-keys.html").read_text(encoding="utf-8")
    assert "optimizer.reference_batch" in keys
    assert "model.intermediate_activation" in keys


def test_examples_in_docstrings_are_code_not_quotations(site):
    text = (site / "api/data/order.html").read_text(encoding="utf-8")
    assert "&gt;&gt;&gt;" in text
    assert "<blockquote>" not in text


def _commands():
    for page in sorted(DOCS.rglob("*.md")):
        blocks = re.findall(r"```\w*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        whole = re.sub(r"\s*\\\n\s*", " ", "\n".join(blocks))  # a command over several lines
        for line in whole.splitlines():
            if line.startswith("xception "):
                yield pytest.param(re.split(r"\s+#", line)[0], id=f"{page.stem}: {line[:60]}")


@pytest.mark.parametrize("command", _commands())
def test_commands_on_the_pages_have_options_that_exist(command, generate):
    from xception.cli.main import VERBS

    words = [word for word in shlex.split(command.rstrip("…")) if word != "|"]
    verb = words[1:3] if words[1] in ("data", "benchmark") else words[1:2]
    assert verb[0] in VERBS
    text = generate("command_help").printed_help(verb)
    for word in words:
        if word.startswith("--") and "." not in word:
            assert word.partition("=")[0] in text, f"{command}: {word}"


def test_help_becomes_a_table(generate):
    help_text = generate("command_help")
    shown = help_text.read_help(
        "usage: x\n\nDoes a thing.\n\noptions:\n  -h, --help  Help.\n"
        "  --reading {a,b}\n                        Which. (type: Literal['a', 'b'], default: a)\n"
    )
    assert shown.paragraphs == ["Does a thing."]
    assert help_text.table(shown.sections[0]).splitlines()[2:] == [
        "| `--reading` | Which. <small>`a` or `b`, default `a`</small> |"
    ]


def test_a_new_deviation_mark_appears_in_the_table(generate, tmp_path):
    package = tmp_path / "src" / "xception"
    package.mkdir(parents=True)
    (package / "layers.py").write_text(
        '"""About figure 3."""\n\n\n'
        "class Net:\n"
        '    """A net (section 4.6).\n\n'
        "    Args:\n"
        "        width: Width of it. Deviation: not in the paper,\n"
        "            but handy.\n"
        "        depth: Another.\n\n"
        "    Deviation: two lines\n"
        "    about table 2.\n\n"
        '    And more.\n    """\n\n'
        "    def run(self):\n"
        "        # Deviation: a comment\n"
        "        # of two lines.\n"
        "        return 'Deviation: no mark, but a text'\n"
    )
    (package / "mine.yaml").write_text(
        "# Mine\n# Paper: section 4.4\n# Deviation: all at once,\n#   not one by one.\n# More.\n"
    )
    found = generate("deviations").collect(tmp_path)
    assert [(d.line, d.symbol, d.paper, d.text) for d in found] == [
        (
            8,
            "xception.layers.Net(width)",
            "–",
            "Width of it. Not in the paper, but handy.",
        ),
        (12, "xception.layers.Net", "table 2", "two lines about table 2."),
        (19, "xception.layers.Net.run", "figure 3", "a comment of two lines."),
        (3, "mine", "section 4.4", "all at once, not one by one."),
    ]


def test_every_deviation_mark_in_the_sources_is_in_the_table(generate):
    deviations = generate("deviations")
    marks = 0
    for path in (ROOT / "src").rglob("*"):
        if path.suffix in (".py", ".yaml"):
            marks += path.read_text(encoding="utf-8").count("Deviation: ")
    assert len(deviations.collect()) == marks > 0
    assert deviations.table().count("<br>") == marks


def test_architecture_tells_the_direction_of_the_contract(generate):
    levels = generate("rooms").layers()
    line = re.search(r"`(cli → .*?)`", (DOCS / "architecture.md").read_text(encoding="utf-8"))[1]
    told = [re.findall(r"\w+", level) for level in line.split(" → ")]
    assert told == levels


def test_imports_shown_for_a_room_keep_the_contract(generate):
    rooms = generate("rooms")
    order = {room: number for number, level in enumerate(rooms.layers()) for room in level}
    for path in (ROOT / "src" / "xception").glob("*/__init__.py"):
        room = path.parent.name
        for other in rooms.imported_rooms(room):
            assert order[other] >= order[room], f"{room} imports {other}"


def test_links_between_files_become_links_between_pages(generate):
    rewrite = generate("repository_pages").rewrite_links
    assert rewrite("[w](docs/weights.md#verify)", "index.md") == "[w](weights.md#verify)"
    assert rewrite("[c](CHANGELOG.md)", "index.md") == "[c](changes.md)"
    assert rewrite("[c](../CHANGELOG.md)", "models.md") == "[c](changes.md)"
    assert rewrite("[m](../benchmarks/results/a.csv)", "models.md") == "[m](results/a.csv)"
    assert rewrite("[s](../src/xception/errors.py)", "models.md") == "s"
    assert rewrite("`[s](../x)`", "models.md") == "`[s](../x)`"


def test_every_module_says_what_it_is():
    for path in (ROOT / "src").rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_tests_that_pages_name_exist():
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        for path, name in re.findall(
            r"`(?:pytest )?(tests/[\w/]+\.py)::(\w+)", page.read_text(encoding="utf-8")
        ):
            source = (ROOT / path).read_text(encoding="utf-8")
            assert f"def {name}(" in source, f"{page.name}: {path}::{name}"
