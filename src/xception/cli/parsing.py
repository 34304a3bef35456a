"""What the user typed after a verb: options by their whole names, mistakes in one sentence."""

import re
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
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
        options = {a.dest: a.option_strings[-1] for a in parser._actions if a.option_strings}
        raise InputError(f"{_sentence(str(error), options)}; see {parser.prog} --help") from None


def _sentence(message: str, options: Mapping[str, str]) -> str:
    r"""The parser's message for people.

    Args:
        message: The parser's.
        options: As they are typed, by the keys that the parser knows them by.

    Example:
        >>> _sentence("unrecognized arguments: --topk 1", {"top_k": "--top-k"})
        "there is no option --topk; did you mean '--top-k'?"
        >>> _sentence('Parser key "kind":\n  Expected a int. Got value: x', {"kind": "--from"})
        "--from: expected int, not 'x'"
    """
    text = " ".join(message.split())
    unknown = re.match(r"unrecognized arguments: (.*)", text)
    if unknown:
        words = unknown[1].split()
        option = next((word for word in words if word.startswith("-")), None)
        if option is None:
            return f"too many arguments: {unknown[1]}"
        name = option.partition("=")[0]
        return f"there is no option {name}{nearest(name, list(options.values()))}"
    missing = re.match(r"the following arguments are required: (.*)", text)
    if missing:
        keys = missing[1].split(", ")
        return f"missing: {', '.join(options.get(key, key.upper()) for key in keys)}"
    wrong = re.match(r'Parser key "(\w+)": (.*?)\.? Got value: (.*)', text)
    if wrong:
        key, wanted, value = wrong.groups()
        wanted = re.sub(r".*Expected an? ", "", wanted)
        wanted = re.sub(r"<class '(\w+)'>", r"\1", wanted)
        choices = re.search(r"Literal\[(.*)\]", wanted)
        if choices:
            wanted = f"one of {choices[1]}".replace("'", "")
        return f"{options.get(key, key.upper())}: expected {wanted}, not '{value}'"
    several = re.match(
        r'Parser key "(\w+)": Does not validate against any of the Union subtypes Subtypes: '
        r"\[(.*?)\] Errors: .*Given value: (.*)",
        text,
    )
    if several:
        key, types, value = several.groups()
        names = [name for name in re.findall(r"<class '(\w+)'>", types) if name != "NoneType"]
        if names:
            name = options.get(key, key.upper())
            return f"{name}: expected {' or '.join(names)}, not '{value}'"
    return re.sub(r'Parser key "(\w+)": ', r"\1: ", text)
