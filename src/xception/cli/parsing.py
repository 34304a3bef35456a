"""What the user typed after a verb: options by their whole names, mistakes in one sentence."""

import re
from argparse import ArgumentError
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xception.errors import InputError, nearest

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def new_parser(verb: str, description: str) -> "ArgumentParser":
    """A parser for one verb: no abbreviations, mistakes raise."""
    from jsonargparse import ArgumentParser

    return ArgumentParser(
        prog=f"xception {verb}",
        description=description,
        allow_abbrev=False,
        exit_on_error=False,
    )


def parse(parser: "ArgumentParser", arguments: Sequence[str]) -> "Namespace":
    """Parses the words after a verb.

    Raises:
        InputError: A missing or unknown argument (the nearest valid option is named), or a value
            of the wrong type.
    """
    try:
        return parser.parse_args(list(arguments))
    except ArgumentError as error:
        options = [word for action in parser._actions for word in action.option_strings]
        raise InputError(f"{_sentence(str(error), options)}; see {parser.prog} --help") from None


def _sentence(message: str, options: list[str]) -> str:
    r"""The parser's message for people.

    Example:
        >>> _sentence("unrecognized arguments: --topk 1", ["--top-k"])
        "there is no option --topk; did you mean '--top-k'?"
        >>> _sentence('Parser key "top_k":\n  Expected a int. Got value: x', [])
        "--top-k: expected int, not 'x'"
    """
    text = " ".join(message.split())
    unknown = re.match(r"unrecognized arguments: (.*)", text)
    if unknown:
        words = unknown[1].split()
        option = next((word for word in words if word.startswith("-")), None)
        if option is None:
            return f"too many arguments: {unknown[1]}"
        name = option.partition("=")[0]
        return f"there is no option {name}{nearest(name, options)}"
    missing = re.match(r"the following arguments are required: (.*)", text)
    if missing:
        return f"missing: {', '.join(missing[1].upper().split(', '))}"
    wrong = re.match(r'Parser key "(\w+)": (.*?)\.? Got value: (.*)', text)
    if wrong:
        key, wanted, value = wrong.groups()
        flag = "--" + key.replace("_", "-")
        name = flag if flag in options or not options else key.upper()
        wanted = re.sub(r".*Expected an? ", "", wanted)
        wanted = re.sub(r"<class '(\w+)'>", r"\1", wanted)
        choices = re.search(r"Literal\[(.*)\]", wanted)
        if choices:
            wanted = f"one of {choices[1]}".replace("'", "")
        return f"{name}: expected {wanted}, not '{value}'"
    several = re.match(
        r'Parser key "(\w+)": Does not validate against any of the Union subtypes Subtypes: '
        r"\[(.*?)\] Errors: .*Given value: (.*)",
        text,
    )
    if several:
        key, types, value = several.groups()
        names = [name for name in re.findall(r"<class '(\w+)'>", types) if name != "NoneType"]
        if names:
            return f"--{key.replace('_', '-')}: expected {' or '.join(names)}, not '{value}'"
    return re.sub(r'Parser key "(\w+)": ', r"\1: ", text)
