"""A page for each module with its docstrings, and one for each room with a table of its modules."""

import ast
from pathlib import Path

from repository_pages import ROOT

PACKAGE = ROOT / "src" / "xception"


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return paragraph.replace("|", "\\|")


def room_paths() -> list[Path]:
    """The rooms: folders of the package that hold Python modules."""
    return sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))


def pages() -> dict[str, str]:
    """All pages of the API, by their places in the site."""
    found = {"api/index.md": _overview()}
    for path in sorted(PACKAGE.glob("*.py")):
        if not path.stem.startswith("__"):
            found[f"api/{path.stem}.md"] = _module_page(path)
    for room in room_paths():
        found[f"api/{room.name}/index.md"] = _room_page(room)
        for path in _modules(room):
            place = path.relative_to(PACKAGE).with_suffix(".md").as_posix()
            found[f"api/{place}"] = _module_page(path)
    return found


def _modules(room: Path) -> list[Path]:
    return sorted(path for path in room.rglob("*.py") if not path.stem.startswith("__"))


def _module_page(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return f"# `{name}`\n\n::: {name}\n"


def _room_page(room: Path) -> str:
    rows = [
        f"| [`{path.stem}`]({path.relative_to(room).with_suffix('.md').as_posix()}) "
        f"| {first_sentence(path)} |"
        for path in _modules(room)
    ]
    lines = [
        f"# `xception.{room.name}`",
        "",
        first_sentence(room / "__init__.py"),
        "",
        "| module | what it is |",
        "| --- | --- |",
        *rows,
    ]
    return "\n".join(lines)


def _overview() -> str:
    rooms = [
        f"| [`xception.{room.name}`]({room.name}/index.md) "
        f"| {first_sentence(room / '__init__.py')} |"
        for room in room_paths()
    ]
    return "\n".join(
        [
            "# API",
            "",
            "The public names; they are loaded when they are first used.",
            "",
            "| name | from |",
            "| --- | --- |",
            *(
                f"| [`xception.{name}`][{home}.{name}] | `{home}` |"
                for name, home in sorted(_public_names().items())
            ),
            "",
            "The rooms, each with its modules:",
            "",
            "| room | what it holds |",
            "| --- | --- |",
            *rooms,
            *(
                f"| [`xception.{name}`]({name}.md) | {first_sentence(PACKAGE / f'{name}.py')} |"
                for name in ("errors", "signals")
            ),
        ]
    )


def _public_names() -> dict[str, str]:
    from xception import _HOME

    return dict(_HOME)
