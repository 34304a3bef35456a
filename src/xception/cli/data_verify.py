"""``xception data verify FOLDER``: reads every record of the shards."""

from collections.abc import Sequence
from pathlib import Path

from xception.cli.parsing import new_parser, parse
from xception.errors import count_of

DESCRIPTION = """\
Reads every record of a folder of shards: finds truncated, changed or missing shards, and damaged,
duplicate or undecodable records. The exit code is 1 when there are any."""

PROBLEMS_SHOWN = 100


def main(arguments: Sequence[str]) -> int:
    """Runs the verb; returns 0, or 1 when something is wrong."""
    parser = new_parser("data verify", DESCRIPTION)
    parser.add_argument("folder", type=str, help="The shards, with their manifest.json.")
    parser.add_argument("--workers", type=int, help="Processes; by default one per CPU core.")
    parser.add_argument(
        "--decode",
        type=bool,
        default=True,
        help="Whether every image is decoded; false checks the records alone.",
    )
    options = parse(parser, arguments)

    from rich.console import Console

    from xception.cli.progress import progress_bar
    from xception.data.manifest import MANIFEST, parse_manifest
    from xception.data.shard_verification import verify_shards
    from xception.data.worker_process import cpu_cores

    folder = Path(options.folder)
    total = parse_manifest(folder / MANIFEST).images
    with progress_bar(Console(stderr=True), total) as advance:
        manifest, problems = verify_shards(
            folder,
            decode=options.decode,
            workers=options.workers or cpu_cores(),
            progress=advance,
        )
    for problem in problems[:PROBLEMS_SHOWN]:
        print(problem)
    if len(problems) > PROBLEMS_SHOWN:
        print(f"and {len(problems) - PROBLEMS_SHOWN:,} more")
    told = count_of(len(problems), "problem") if problems else "all is well"
    shards = count_of(len(manifest.shards), "shard")
    print(f"{count_of(manifest.images, 'image')} in {shards}: {told}")
    return 1 if problems else 0
