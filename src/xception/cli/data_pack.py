"""``xception data pack SOURCE TARGET``: labelled images into ArrayRecord shards."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xception.cli.parsing import new_parser, parse
from xception.errors import InputError, count_of

if TYPE_CHECKING:
    from xception.data.packing import Packing

DESCRIPTION = """\
Packs labelled images into ArrayRecord shards with a manifest (counts, hashes, classes), from which
training reads at random. Called again after an interruption, it goes on; a packing that is complete
is left as it is. Images that can't be read are left out and named; the exit code is then 1."""

SKIPPED_SHOWN = 20


def main(arguments: Sequence[str]) -> int:
    """Runs the verb; returns 0, or 1 when some image could not be read."""
    parser = new_parser("data pack", DESCRIPTION)
    add = parser.add_argument
    add("source", type=str, help="What to pack.")
    add("target", type=str, help="Folder for the shards.")
    add(
        "--from",
        dest="kind",
        type=Literal["folder", "table", "parquet", "tar"],
        required=True,
        help="folder: one folder of images per class; table, parquet: a label table (.csv, .jsonl, "
        ".parquet); tar: a tar file, or a folder of them, as WebDataset lays them out.",
    )
    add(
        "--classes",
        type=str,
        help="File with a class name to a line. Default: classes.txt beside the table or tar "
        "files; for a folder the names of its folders.",
    )
    add(
        "--images-per-shard",
        type=int,
        default=4096,
        help="At most; the last shard has fewer. To read one image takes as much memory and time "
        "as a list of its shard's images.",
    )
    add("--workers", type=int, help="Processes; by default one per CPU core.")
    add(
        "--short-side",
        type=int,
        help="Shrink larger images to this short side (pixels) and encode them as JPEG anew, which "
        "changes their pixels. Default: image files are kept as they are.",
    )
    add("--quality", type=int, default=90, help="Of these JPEGs, 1 to 100.")
    options = parse(parser, arguments)

    from rich.console import Console

    from xception.cli.progress import progress_bar
    from xception.data.packing import pack
    from xception.data.worker_process import cpu_cores

    for name, least in (("images_per_shard", 1), ("workers", 1), ("short_side", 1), ("quality", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"--{name.replace('_', '-')} is {value}; it must be at least {least}")
    if options.quality > 100:
        raise InputError(f"--quality is {options.quality}; it must be at most 100")
    packing = _packing(
        Path(options.source),
        options.kind,
        Path(options.classes) if options.classes else None,
        options.images_per_shard,
        (options.short_side, options.quality),
    )
    workers = options.workers or cpu_cores()
    with progress_bar(Console(stderr=True), len(packing.images)) as advance:
        manifest = pack(packing, Path(options.target), workers=workers, progress=advance)
    skipped = [text for shard in manifest.shards for text in shard.skipped]
    size = sum(shard.bytes for shard in manifest.shards)
    print(
        f"{count_of(manifest.images, 'image')} in {count_of(len(manifest.shards), 'shard')}, "
        f"{count_of(size, 'byte')}, packing {manifest.packing}: {options.target}"
    )
    if skipped:
        print(f"xception: {count_of(len(skipped), 'image')} could not be read:", file=sys.stderr)
    for text in skipped[:SKIPPED_SHOWN]:
        print(f"  {text}", file=sys.stderr)
    return 1 if skipped else 0


def _packing(
    source: Path,
    kind: str,
    classes: Path | None,
    images_per_shard: int,
    again: tuple[int | None, int],
) -> "Packing":
    from xception.data.class_lists import CLASS_LIST, read_class_list
    from xception.data.label_tables import read_label_table
    from xception.data.manifest import Reencoding
    from xception.data.packing import Packing
    from xception.data.tar_images import read_tars

    if not source.exists():
        raise InputError(f"there is no {source}; check the path")
    reencoding = None if again[0] is None else Reencoding(again[0], again[1])
    if kind == "folder":
        from xception.data.folders import read_class_folders

        images, labels, names = read_class_folders(
            source, read_class_list(classes) if classes else None
        )
        return Packing(images, labels, names, False, images_per_shard, reencoding)
    beside = source if source.is_dir() else source.parent
    names = read_class_list(classes or beside / CLASS_LIST)
    if kind == "parquet" and source.suffix != ".parquet":
        raise InputError(f"{source} does not end in .parquet; use --from table for other tables")
    table = read_tars(source, names) if kind == "tar" else read_label_table(source, names)
    return Packing(table.images, table.labels, names, True, images_per_shard, reencoding)
