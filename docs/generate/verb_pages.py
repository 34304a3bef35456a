"""The pages of the commands: what is written by hand, then what ``--help`` says."""

from command_help import Help, printed_help, read_help, table


def pages_without_text(written: set[str]) -> dict[str, str]:
    """Pages for the verbs about which nothing is written by hand."""
    from xception.cli.main import VERBS

    return {
        f"verbs/{verb}.md": f"# xception {verb}\n\n{sentence(summary)}\n"
        for verb, summary in VERBS.items()
        if f"verbs/{verb}.md" not in written
    }


def sentence(text: str) -> str:
    """A summary as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def overview() -> str:
    """A table of all verbs."""
    from xception.cli.main import VERBS

    rows = [f"| [`{verb}`]({verb}.md) | {summary} |" for verb, summary in VERBS.items()]
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows])


def options(place: str) -> str:
    """The help of a verb, and of the verbs below it.

    Args:
        place: The page, such as ``verbs/train.md``.
    """
    verb = place.removeprefix("verbs/").removesuffix(".md")
    shown = read_help(printed_help([verb]))
    below = next((section for section in shown.sections if section.title == "verbs"), None)
    if below is None:
        return "## All options\n\n" + _markdown(shown)
    parts = []
    for name, _ in below.entries:
        part = read_help(printed_help([verb, name]))
        parts.append(f"## All options of `{verb} {name}`\n\n{_markdown(part)}")
    return "\n\n".join(parts)


def _markdown(shown: Help) -> str:
    parts = [f"```text\n{_wrapped(shown.usage)}\n```", *shown.paragraphs]
    for section in shown.sections:
        rows = table(section, head="argument" if "arguments" in section.title else "option")
        if rows:
            parts.append(rows)
    return "\n\n".join(parts)


def _wrapped(usage: str, width: int = 76) -> str:
    """The usage line, broken between its brackets."""
    words: list[str] = []
    depth = 0
    for word in usage.split(" "):
        if depth:
            words[-1] += f" {word}"
        else:
            words.append(word)
        depth += word.count("[") - word.count("]")
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("   ")
        lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return "\n".join(lines)
