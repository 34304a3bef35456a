"""Every departure from the paper, collected from the ``Deviation:`` marks in ``src``."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repository_pages import ROOT

MARK = "Deviation:"
SHORT = 60  # characters; a shorter text needs the sentence before it
PLACE_IN_PAPER = re.compile(
    r"(?:[Ss]ections?|[Ff]igures?|[Tt]ables?) \d+(?:\.\d+)*(?:(?:–| to | and )\d+(?:\.\d+)*)?"
)
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Scope = ast.Module | Definition
ARGUMENT = re.compile(r"^(\w+)(?: \(.*?\))?: ")


@dataclass(frozen=True)
class Deviation:
    """One departure.

    Attributes:
        path: The file, relative to the repository.
        line: The line of the mark, from 1.
        symbol: Module, class, function or argument that it belongs to.
        paper: Sections, figures or tables of the paper, as the text or its surroundings name them.
        text: What is different and why.
    """

    path: str
    line: int
    symbol: str
    paper: str
    text: str


def collect(root: Path = ROOT) -> list[Deviation]:
    """All marks in docstrings, comments and YAML files below ``root/src``, by file and line."""
    found: list[Deviation] = []
    for path in sorted((root / "src").rglob("*")):
        if path.suffix == ".py":
            found += _in_python(path, root)
        elif path.suffix in (".yaml", ".yml"):
            found += _in_yaml(path, root)
    return sorted(found, key=lambda deviation: (deviation.path, deviation.line))


def table() -> str:
    """The Markdown table of all marks."""
    rows = [
        f"| {_where(deviation)} | {deviation.paper} | {_escaped(_capital(deviation.text))} |"
        for deviation in collect()
    ]
    return "\n".join(["| where | paper | what differs |", "| --- | --- | --- |", *rows])


def _where(deviation: Deviation) -> str:
    """The symbol, with a link to its page, above file and line."""
    path = Path(deviation.path).relative_to("src/xception")
    page = f"recipes/{path.stem}.md" if path.suffix == ".yaml" else f"api/{path.with_suffix('.md')}"
    module = ".".join(("xception", *path.with_suffix("").parts))
    name = deviation.symbol.removeprefix(f"{module}.")
    shown = path.stem if name == module else name
    return f"[`{shown}`]({page})<br><small>{path}, line {deviation.line}</small>"


def scale_table() -> str:
    """What the reproduction's scales say of themselves."""
    from xception.paper.scales import SCALES

    rows = [
        f"| `{name}` | {_escaped(text)} |"
        for name, scale in SCALES.items()
        for text in (
            *scale.deviations,
            *(scale.multi_label.deviations if scale.multi_label else ()),
        )
    ]
    return "\n".join(["| scale | what differs |", "| --- | --- |", *rows])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _escaped(text: str) -> str:
    if "`" in text:
        return text.replace("|", "\\|")
    return re.sub(r"([|>*_])", r"\\\1", text).replace("<", "&lt;")


def _in_python(path: Path, root: Path) -> Iterator[Deviation]:
    source = path.read_text(encoding="utf-8")
    if MARK not in source:
        return
    tree = ast.parse(source)
    module = ".".join(path.relative_to(root / "src").with_suffix("").parts)
    module = module.removesuffix(".__init__")
    inner = list(_scopes(tree, module))
    scopes: list[tuple[Scope, str]] = [(tree, module), *inner]
    outer = ast.get_docstring(tree, clean=True) or ""
    lines = source.splitlines()
    place = path.relative_to(root).as_posix()
    for node, symbol in scopes:
        span = _docstring_span(node)
        for number in range(*span):
            if MARK not in lines[number]:
                continue
            text, before, argument = _paragraph(lines, span, number)
            docstring = " ".join(lines[span[0] : span[1]])
            paper = _paper(before, text, docstring, outer)
            if text.startswith("not in the paper"):  # say what is not
                text = f"{before or summary(node)} {_capital(text)}"
                paper = "–"
            elif len(text) < SHORT and before:
                text = f"{_last_sentence(before)} {_capital(text)}"
            name = f"{symbol}({argument})" if argument else symbol
            yield Deviation(place, number + 1, name, paper, text)
    for number, text in _comments(source):
        around = [
            scope for scope in inner if scope[0].lineno <= number <= (scope[0].end_lineno or number)
        ]
        owner, symbol = [*scopes[:1], *around][-1]
        docstring = ast.get_docstring(owner) or ""
        yield Deviation(place, number, symbol, _paper(text, docstring, outer), text)


def _scopes(tree: ast.AST, prefix: str) -> Iterator[tuple[Definition, str]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            yield node, f"{prefix}.{node.name}"
            yield from _scopes(node, f"{prefix}.{node.name}")


def _docstring_span(node: Scope) -> tuple[int, int]:
    """First line and end of a docstring, from 0; an empty span without one."""
    body = getattr(node, "body", [])
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
        return first.lineno - 1, first.end_lineno or first.lineno
    return 0, 0


def summary(node: Scope) -> str:
    """The first paragraph of a definition's docstring, on one line."""
    docstring = ast.get_docstring(node) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def _paragraph(lines: list[str], span: tuple[int, int], number: int) -> tuple[str, str, str]:
    """What stands around a mark in a docstring.

    Returns:
        The text from the mark on; the text before it in its paragraph, or about its argument; the
        argument that it stands under, if any.
    """
    indent, base = _indent(lines[number]), _indent(lines[span[0]])
    text = [lines[number].partition(MARK)[2]]
    for line in lines[number + 1 : span[1]]:
        if not line.strip() or _indent(line) < indent or line.strip() == '"""':
            break
        if _indent(line) == indent and ARGUMENT.match(line.strip()):
            break
        text.append(line)
    before = [lines[number].partition(MARK)[0]]
    argument = ARGUMENT.match(before[0].strip()) if indent > base else None
    for line in reversed(lines[span[0] : number]):
        if argument or (indent == base and not line.strip()):
            break
        before.insert(0, line)
        argument = ARGUMENT.match(line.strip()) if base < _indent(line) <= indent else None
    words = _one_line(before)
    if argument is None:
        return _one_line(text), words, ""
    return _one_line(text), words.removeprefix(argument[0]), argument[1]


def _one_line(lines: list[str]) -> str:
    return " ".join(" ".join(lines).replace('"""', "").split())


def _last_sentence(text: str) -> str:
    return re.split(r"(?<=[.:;]) (?=[A-Z])", text)[-1]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Comments that begin with the mark: their first line, and the text of all of their lines."""
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for number, comment in comments.items():
        if MARK in comment:
            text = [comment.partition(MARK)[2]]
            while number + len(text) in comments:
                text.append(comments[number + len(text)])
            yield number, " ".join(" ".join(text).split())


def _in_yaml(path: Path, root: Path) -> Iterator[Deviation]:
    lines = path.read_text(encoding="utf-8").splitlines()
    paper = next((line.partition(": ")[2] for line in lines if line.startswith("# Paper: ")), "")
    for number, line in enumerate(lines):
        if MARK not in line or "#" not in line:
            continue
        text = [line.partition(MARK)[2]]
        for following in lines[number + 1 :]:
            if not following.startswith("#  "):
                break
            text.append(following.lstrip("# "))
        words = " ".join(" ".join(text).split())
        place = path.relative_to(root).as_posix()
        yield Deviation(place, number + 1, path.stem, _paper(words, paper), words)


def _paper(*texts: str) -> str:
    """The first section, figure or table of the paper that the texts name."""
    for text in texts:
        place = PLACE_IN_PAPER.search(text)
        if place:
            return place[0].lower()
    return "–"
