"""A page for each shipped recipe: its head comment and its keys."""

import re
from pathlib import Path


def _shipped() -> dict[str, Path]:
    from xception.recipes.load import shipped_recipes

    return shipped_recipes()


def read_head(path: Path) -> tuple[str, list[tuple[str, str]], list[str]]:
    """What a recipe's head comment says.

    Returns:
        Its first line, its fields (``Paper: …``) in order, and its other sentences.
    """
    from xception.cli.recipes import head_comment

    raw = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        raw.append(line.removeprefix("#").removeprefix(" "))
    title = head_comment(path)[0]
    fields: list[tuple[str, str]] = []
    notes: list[str] = []
    in_field = False
    for line in raw[1:]:
        name, colon, text = line.partition(": ")
        if line.startswith("  ") and in_field:
            fields[-1] = (fields[-1][0], f"{fields[-1][1]} {line.strip()}")
        elif colon and name[:1].isupper() and len(name.split()) <= 3 and not line.startswith(" "):
            fields.append((name, text))
            in_field = True
        elif line.startswith("  ") and notes:
            notes[-1] += f" {line.strip()}"
        else:
            notes.append(line)
            in_field = False
    return title, fields, notes


def overview() -> str:
    """A table of all recipes."""
    rows = []
    for name, path in _shipped().items():
        title, fields, _ = read_head(path)
        known = dict(fields)
        rows.append(
            f"| [`{name}`]({name}.md) | {title} | {known.get('Paper', '')} "
            f"| {known.get('Time', '')} |"
        )
    return "\n".join(
        [
            "| recipe | what it is | in the paper | expected time |",
            "| --- | --- | --- | --- |",
            *rows,
        ]
    )


def pages() -> dict[str, str]:
    """The pages, by their places in the site."""
    return {f"recipes/{name}.md": _page(name, path) for name, path in _shipped().items()}


def _linked(text: str) -> str:
    """Pages that a head comment names, as links."""
    return re.sub(r"docs/([\w-]+)\.md", r"[\1](../\1.md)", text)


def _page(name: str, path: Path) -> str:
    title, fields, notes = read_head(path)
    known = dict(fields)
    command = known.pop("Command", f"xception train {name}")
    text = path.read_text(encoding="utf-8").splitlines()
    keys = "\n".join(text[next(i for i, line in enumerate(text) if not line.startswith("#")) :])
    rows = [f"- **{field}**: {_linked(said)}" for field, said in known.items()]
    parts = [
        f"# {name}",
        f"{title}.",
        f"```sh\n{command}\n```",
        "\n".join(rows),
        _linked(" ".join(notes)),
        "## Keys",
        "What this recipe sets. Every other key has its default: [all keys](../recipe-keys.md), "
        f"or `xception train {name} --help`.",
        f"```yaml\n{keys}\n```",
    ]
    return "\n\n".join(part for part in parts if part)
