"""``xception report DIR…``: the report on reproductions, made again from their files."""

from collections.abc import Sequence
from pathlib import Path

SUMMARY = "published numbers beside measured ones, from reproductions"
DESCRIPTION = """\
Writes report.html (one page, everything inside), report.md, results.csv, claims.csv and figures/
from directories that `xception reproduce` made, finished or not. Several directories of one scale
and data set, with different seeds or items, are taken together."""


def main(arguments: Sequence[str]) -> int:
    """Runs the verb."""
    from xception.cli.parsing import new_parser, parse

    parser = new_parser("report", DESCRIPTION)
    parser.add_argument("directories", nargs="+", type=str, help="Made by xception reproduce.")
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="Where to; into the first directory if not given.",
    )
    given = parse(parser, list(arguments))

    from xception.paper.report import write_paper_report

    directories = [Path(directory) for directory in given.directories]
    output = Path(given.output) if given.output else directories[0]
    for path in write_paper_report(directories, output):
        print(path)
    return 0
