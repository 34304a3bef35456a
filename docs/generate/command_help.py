"""What ``xception VERB --help`` prints, as Markdown: nothing of it is written twice."""

import io
import os
import re
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from unittest import mock

HEADING = re.compile(r"^(\S.*):$")
ENTRY = re.compile(r"^  (\S.*?)(?:  +(\S.*))?$")
FACTS = re.compile(r"\s*\((?:(required)(?:, )?)?(?:type: (.*?))?(?:, )?(?:default: (.*))?\)$")


@dataclass
class Section:
    """A headed list of a help text.

    Attributes:
        title: Its heading, without the colon.
        entries: Options or arguments with what is said about them.
    """

    title: str
    entries: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Help:
    """A help text in parts.

    Attributes:
        usage: The lines after ``usage:``.
        paragraphs: What stands outside usage and lists.
        sections: The lists.
    """

    usage: str
    paragraphs: list[str]
    sections: list[Section]


def printed_help(words: list[str]) -> str:
    """What ``xception WORDS --help`` prints, with no line broken."""
    from xception.cli.main import main

    printed = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="10000"), redirect_stdout(printed):
        main([*words, "--help"])
    return printed.getvalue()


def read_help(text: str) -> Help:
    r"""Takes a help text apart.

    Example:
        >>> read_help("usage: x\n\noptions:\n  --seed N  Seed. (type: int)").sections[0]
        Section(title='options', entries=[('--seed N', 'Seed. (type: int)')])
    """
    usage, paragraphs = "", []
    sections: list[Section] = []
    open_section: Section | None = None
    for line in text.replace("usage:", "", 1).strip().splitlines():
        heading, entry = HEADING.match(line), ENTRY.match(line)
        if not usage:
            usage = line.strip()
        elif heading:
            open_section = Section(heading[1])
            sections.append(open_section)
        elif open_section and entry:
            open_section.entries.append((entry[1], entry[2] or ""))
        elif open_section and line.startswith("   ") and open_section.entries:
            name, said = open_section.entries[-1]
            open_section.entries[-1] = (name, f"{said} {line.strip()}".strip())
        elif line.strip():
            open_section = None
            paragraphs.append(line)
        else:
            paragraphs.append("")
    joined = re.sub(r"\n{2,}", "\n\n", "\n".join(paragraphs)).strip()
    return Help(usage, [p.replace("\n", " ") for p in joined.split("\n\n") if p], sections)


def table(section: Section, *, prefix: str = "", head: str = "option") -> str:
    """A list of options as a table: the option, its meaning, type and default.

    Args:
        section: The list.
        prefix: What to take from the beginning of every name, such as ``--``.
        head: The first column's title.
    """
    rows = []
    for name, said in section.entries:
        if name.startswith(("-h", "--help")) or name.endswith(" CONFIG"):
            continue
        facts = FACTS.search(said)
        meaning = said[: facts.start()] if facts else said
        # What stands for a value (FILE, {a,b}, [ITEM,...]) is told by type and meaning.
        option = re.sub(r" [A-Z{\[<].*", "", name.removeprefix(prefix))
        if not name.startswith("-"):
            option = name.upper() if name.islower() else name
        kind = _kind(facts[2] or "") if facts else ""
        default = (facts[3] or "") if facts else ""
        about = ", ".join(
            part
            for part in (kind, f"default `{default}`" if default not in ("", "null") else "")
            if part
        )
        tail = f" <small>{about}</small>" if about else ""
        rows.append(f"| `{option}` | {_escaped(meaning)}{tail} |")
    if not rows:
        return ""
    return "\n".join([f"| {head} | meaning |", "| --- | --- |", *rows])


def _kind(name: str) -> str:
    """A type in words.

    Example:
        >>> _kind("Literal['image', 'class']"), _kind("int | null"), _kind("str")
        ('`image` or `class`', 'integer', 'text')
    """
    name = re.sub(r"Optional\[(.*)\]", r"\1", name)
    name = re.sub(r"Union\[(.*)\]", lambda union: union[1].replace(", ", " | "), name)
    name = re.sub(r"( \| )?(null|None)$", "", name)
    choices = re.fullmatch(r"Literal\[(.*)\]", name)
    if choices:
        *most, last = [f"`{choice.strip(chr(39))}`" for choice in choices[1].split(", ")]
        return f"{', '.join(most)} or {last}" if most else last
    words = {"str": "text", "int": "integer", "float": "number", "bool": "`true` or `false`"}
    return words.get(name, f"`{name}`" if name else "")


def _plain(text: str) -> str:
    """Text without markup; Python-Markdown knows no backslash before "<"."""
    return re.sub(r"([*_>|\[\]])", r"\\\1", text).replace("<", "&lt;")


def _escaped(text: str) -> str:
    """Text of the terminal as Markdown: nothing in it is markup, but for double backticks."""
    pieces = re.split(r"(``.*?``|`.*?`)", text)
    return "".join(piece if i % 2 else _plain(piece) for i, piece in enumerate(pieces))
