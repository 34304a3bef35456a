"""``xception data pack|verify|inspect``: shards of labelled images."""

from collections.abc import Sequence
from importlib import import_module

from xception.errors import InputError, nearest

SUMMARY = "pack labelled images into shards, verify and inspect them"

VERBS = {
    "pack": "a folder, label table or tar files into ArrayRecord shards",
    "verify": "find truncated, damaged, duplicate and undecodable records",
    "inspect": "counts, label frequencies, a contact sheet",
}


def main(arguments: Sequence[str]) -> int:
    """Runs one of the verbs."""
    words = list(arguments)
    if not words or words[0] in ("-h", "--help"):
        lines = "\n".join(f"  {verb:<8} {summary}" for verb, summary in VERBS.items())
        print(f"usage: xception data VERB …\n\n{SUMMARY}\n\nverbs:\n{lines}")
        return 0 if words else 2
    if words[0] not in VERBS:
        hint = nearest(words[0], list(VERBS))
        raise InputError(f"there is no verb 'data {words[0]}'{hint}; see xception data --help")
    return int(import_module(f"xception.cli.data_{words[0]}").main(words[1:]))
