"""The rooms and which of them each may import and does import: the contract beside the code."""

import ast
import tomllib

from api_pages import PACKAGE, first_sentence, room_paths
from repository_pages import ROOT


def layers() -> list[list[str]]:
    """The contract in ``pyproject.toml``: levels from the top down, each with its rooms."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [
        contract
        for contract in pyproject["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    return [
        [room.strip("() ") for room in layer.replace("|", ":").split(":")]
        for layer in contract["layers"]
    ]


def imported_rooms(room: str) -> set[str]:
    """The other rooms that the modules of a room import."""
    found = set()
    for path in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            found |= {name.split(".")[1] for name in names if name.startswith("xception.")}
    return found - {room}


def table() -> str:
    """A row for each room, from the top of the contract down."""
    known = {path.name: first_sentence(path / "__init__.py") for path in room_paths()}
    modules = ("errors", "signals")
    known |= {name: first_sentence(PACKAGE / f"{name}.py") for name in modules}
    rows = []
    for layer in layers():
        for room in layer:
            if room not in known:
                continue
            imports = imported_rooms(room) if room not in modules else set()
            order = [name for level in layers() for name in level if name in imports]
            page = f"api/{room}.md" if room in modules else f"api/{room}/index.md"
            rows.append(
                f"| [`{room}`]({page}) | {known[room]} "
                f"| {', '.join(f'`{name}`' for name in order) or 'none'} |"
            )
    return "\n".join(["| room | what it holds | imports |", "| --- | --- | --- |", *rows])
